"""Furniture, vehicles, vessels and flowers where they stand: whole pictures, made by `studio`."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

from . import shapes, studio

Rng = np.random.Generator
UP = np.array([0.0, 0, 1])


def thing(rng: Rng, pattern: studio.Pattern, panorama: Path, file: Path, model: Path, height: int = 256) -> np.ndarray:
    """A whole picture of a model (.obj, y up) on a floor, mostly before a wall, and how much of each pixel it is, uint8
    RGBA [h,w,4]. Other arguments as of `people.person`."""
    studio.clear()
    bpy.ops.wm.obj_import(filepath=str(model))
    parts = list(bpy.context.scene.collection.objects)
    corners = np.array([part.matrix_world @ Vector(corner) for part in parts for corner in part.bound_box])
    low, high = corners.min(0), corners.max(0)
    scale = 1 / max(high - low)  # everything is a metre long
    for part in parts:
        part.scale, part.location = (scale,) * 3, Vector((-(low + high) / 2 * scale) * [1, 1, 0] - low * scale * [0, 0, 1])
    tall, wide = (high - low)[2] * scale, np.linalg.norm((high - low)[:2]) * scale
    yaw, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.6)
    ground(rng, pattern, max(tall, 0.8 * wide), tall / 2, yaw, pitch, panorama, height)
    return studio.photograph(file, parts)


def flower(rng: Rng, pattern: studio.Pattern, panorama: Path, file: Path, height: int = 256) -> np.ndarray:
    """A whole picture of one flower on its stem, near, what is behind it out of focus; arguments as of `people.person`."""
    studio.clear()
    lean = rng.normal(0, 0.12, 2)  # a stem is a metre long: only what is seen together counts
    stem = shapes.through(np.array([[0, 0, 0], [*lean * 0.2, 0.35], [*lean * 0.6, 0.7], [*lean, 1]]), 24)
    green = np.array([70, 110, 45]) * rng.uniform(0.5, 1.4)
    width = rng.uniform(0.008, 0.025)
    studio.surface(*shapes.tube(stem, np.full((24, 2), width), np.array([0, 1, 0.01]), 10), studio.plain(green, 0.6))
    for _ in range(rng.integers(0, 4)):
        leaf(rng, stem[rng.integers(4, 18)], green)
    colour, size = rng.uniform(30, 255, 3), rng.uniform(0.12, 0.3)
    if rng.random() < 0.35:
        clock(rng, stem[-1], size)
    else:
        blossom(rng, stem[-1], colour, size)
    parts = list(bpy.context.scene.collection.objects)
    yaw, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(-0.1, 0.5)
    if rng.random() < 0.6:
        meadow(rng, green, np.array([np.cos(yaw), np.sin(yaw)]))
    seen = rng.uniform(2.2, 5) * size
    ground(rng, pattern, seen, 1 - rng.uniform(-0.1, 0.3) * seen, yaw, pitch, panorama, height)
    return studio.photograph(file, parts)


def ground(rng: Rng, pattern: studio.Pattern, span: float, middle: float, yaw: float, pitch: float, panorama: Path,
           height: int) -> None:
    """A floor in most pictures, a wall in half of them, light and camera; what is `span` high, with its `middle` above the
    floor, is seen whole or nearly so."""
    direction = Vector((np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)))
    if rng.random() < 0.8:
        floor = 20 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
        studio.surface(floor, np.array([[0, 1, 2, 3]]), studio.cloth(rng, pattern), uv=floor[:, :2] / rng.uniform(0.5, 6))
    if rng.random() < 0.5:
        studio.backdrop(rng, pattern, direction, rng.uniform(0.7, 5), rng.uniform(1, 5), rng.choice([0, 0.2]), 0)
    span *= np.exp(rng.uniform(0, 0.9))
    towards = Vector((*rng.normal(0, 0.1 * span, 2), middle + rng.normal(0, 0.06) * span))
    studio.camera(rng, towards, direction, span, rng.uniform(35, 120), blur=rng.random() < 0.7)
    studio.light(rng, panorama, "AREA", towards)
    studio.develop(rng, height, int(height * rng.uniform(0.8, 1.6)))


def leaf(rng: Rng, root: np.ndarray, green: np.ndarray) -> None:
    """A blade that bends down from the stem."""
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.5)
    out = np.array([np.cos(angle), np.sin(angle), 0])
    t = np.linspace(0, 1, 14)
    path = root + np.outer(t * length, out * 0.7 + UP * 0.7) - np.outer(t**2 * length * rng.uniform(0, 0.9), UP)
    blade(path, np.cross(out, UP), rng.uniform(0.02, 0.06) * np.sin(np.pi * t**0.7), studio.plain(green * 0.9, 0.5))


def meadow(rng: Rng, green: np.ndarray, towards: np.ndarray) -> None:
    """Grass around, none of it between the flower and a camera in a direction [2]; dark or light, like the stem or not."""
    roots = rng.normal(0, 1.3, (6000, 2)) - towards * 0.9
    nearer = (roots @ towards > -0.06) & (np.abs(roots @ [-towards[1], towards[0]]) < 0.35)
    roots = np.column_stack([roots[~nearer], np.zeros((~nearer).sum())])
    tall = rng.uniform(0.3, 1.1) * rng.uniform(0.4, 1.1, (len(roots), 1, 1))
    t = np.linspace(0, 1, 6)[:, None]
    bent = np.concatenate([rng.normal(0, 0.3, (len(roots), 1, 2)), np.ones((len(roots), 1, 1))], 2)
    paths = roots[:, None] + tall * (t * [0, 0, 1] * bent + t**2 * [1, 1, -0.2] * bent)
    colour = (green if rng.random() < 0.5 else np.array([150, 130, 80])) * rng.uniform(0.2, 1.2)
    studio.strands(paths, rng.uniform(0.003, 0.009), studio.hair(rng, np.clip(colour, 0, 255)))


def blossom(rng: Rng, middle: np.ndarray, colour: np.ndarray, size: float) -> None:
    """Petals in one to four rings around a disc."""
    disc, petal = studio.plain(rng.uniform(20, 230, 3) * [1, 0.8, 0.3], 0.8), studio.plain(colour, 0.6)
    ball(middle + UP * 0.02 * size, size * rng.uniform(0.15, 0.35), 0.6, disc)
    t = np.linspace(0, 1, 12)
    for ring in range(rng.integers(1, 5)):
        count, opened = rng.integers(5, 16), rng.uniform(0.1, 1.2) - 0.25 * ring
        for angle in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 6) + rng.normal(0, 0.08, count):
            out = np.array([np.cos(angle), np.sin(angle), 0])
            rise = np.outer(t * size, out * np.cos(opened) + UP * np.sin(opened)) - np.outer(t**2 * size * 0.25, UP)
            breadth = size * 2.6 / count * np.sin(np.pi * t**0.8) ** 0.6
            blade(middle + rise, np.cross(out, UP), breadth, petal)


def clock(rng: Rng, middle: np.ndarray, size: float) -> None:
    """The ball of down that a dandelion becomes: spokes, each with a parasol of hairs."""
    out = rng.normal(0, 1, (rng.integers(60, 220), 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    down = studio.hair(rng, rng.uniform([190, 180, 160], [245, 240, 230]))
    ends = middle + out * size * 0.75
    ball(middle, size * 0.12, 1, studio.plain((90, 70, 45), 0.8))
    studio.strands(middle + out[:, None] * np.linspace(0.1, 0.75, 4)[:, None] * size, 0.0015, down)
    hairs = out[:, None] * 0.6 + rng.normal(0, 0.6, (len(out), 18, 3))
    hairs *= 0.28 * size / np.linalg.norm(hairs, axis=2, keepdims=True)
    parasols = ends[:, None, None] + hairs[:, :, None] * np.linspace(0, 1, 4)[:, None]
    studio.strands(parasols.reshape(-1, 4, 3), 0.0012, down)


def blade(path: np.ndarray, across: np.ndarray, breadth: np.ndarray, stuff) -> None:
    """A thin strip along a path [P, 3], to either side by `breadth` [P]."""
    sides = [path + np.outer(breadth * side, across) for side in (-1, 0, 1)]
    sides[1] = sides[1] - np.outer(breadth * 0.3, UP)
    studio.surface(np.stack(sides, 1).reshape(-1, 3), shapes.quads(len(path), 3), stuff, rounder=True)


def ball(middle: np.ndarray, size: float, flat: float, stuff) -> None:
    x = np.linspace(-1, 1, 10)
    radii = np.sqrt(1 - x**2)[:, None] * np.full((1, 2), size) + 1e-4
    studio.surface(*shapes.tube(middle + np.outer(x * size * flat, UP), radii, np.array([0.0, 1, 0]), 14), stuff)
