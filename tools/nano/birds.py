"""Swans, geese and ducks on water: whole pictures, made by `studio`, in which light, waves, mirror images and what is
behind belong together."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

from . import shapes, studio

Rng = np.random.Generator
KINDS = {"swan": (0.075, 1.45), "goose": (0.085, 1.5), "duck": (0.1, 1.6)}  # half the neck's width; the head's to that
BEAKS = np.array([[200, 40, 30], [235, 140, 30], [60, 55, 50], [220, 180, 60]], float)
UP = np.array([0.0, 0, 1])


def bird(rng: Rng, pattern: studio.Pattern, panorama: Path, file: Path, height: int = 256) -> np.ndarray:
    """A whole picture of one bird and how much of each pixel it covers, uint8 RGBA [h,w,4].

    pattern(rng) -> uint8 [h,w,3] is what the bank behind may look like; `panorama` is what the water mirrors and what
    lights everything; pictures go through `file`.
    """
    studio.clear()
    parts, tall = body(rng)
    heading = rng.choice([rng.normal(0, 0.5), rng.normal(np.pi, 0.5), rng.uniform(0, 2 * np.pi)])
    turn(parts, heading, rng.uniform(-0.12, 0.05))
    lake = 60 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    studio.surface(lake, np.array([[0, 1, 2, 3]]), studio.water(rng))
    yaw, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(0.03, 0.5)
    direction = Vector((np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)))
    far = rng.uniform(1.6, 8)
    if rng.random() < 0.75:  # a bank of earth, stone, reeds or masonry
        studio.backdrop(rng, pattern, direction, far, rng.uniform(0.3, 4), rng.uniform(0.05, 0.7), -0.1)
    if rng.random() < 0.35:  # the wall that holds it
        kerb(rng, direction, far * rng.uniform(0.75, 1))
    towards = Vector((0.15 * np.cos(heading), 0.15 * np.sin(heading), 0.2 + tall * 0.35))
    towards += Vector(rng.normal(0, [0.25, 0.25, 0.12]))
    studio.camera(rng, towards, direction, rng.uniform(2.2, 6), rng.uniform(50, 150), blur=rng.random() < 0.6)
    studio.light(rng, panorama, "SUN", towards)
    studio.develop(rng, height, int(height * rng.uniform(0.9, 1.5)))
    return studio.photograph(file, parts)


def kerb(rng: Rng, direction: Vector, far: float) -> None:
    """A low wall out of the water, `far` behind the bird, that leans back."""
    behind = -np.array([direction.x, direction.y, 0]) / np.hypot(direction.x, direction.y)
    along = np.array([-behind[1], behind[0], 0]) + behind * rng.normal(0, 0.25)
    low, high = behind * far - UP * 0.1, behind * (far + rng.uniform(0.05, 0.8)) + UP * rng.uniform(0.15, 0.7)
    corners = np.array([low - 20 * along, low + 20 * along, high + 20 * along, high - 20 * along])
    studio.surface(corners, np.array([[0, 1, 2, 3]]), studio.stone(rng))


def turn(parts: list[bpy.types.Object], heading: float, rise: float) -> None:
    """Everything by an angle about the vertical, then up."""
    for part in parts:
        part.rotation_euler, part.location = (0, 0, heading), (0, 0, rise)


def body(rng: Rng) -> tuple[list[bpy.types.Object], float]:
    """A bird that swims along +x on z = 0, two metres from breast to tail (size is in the eye of the camera), and the
    height of its neck."""
    kind = str(rng.choice(list(KINDS), p=[0.5, 0.25, 0.25]))
    black, white = rng.uniform(8, 45) * rng.uniform(0.85, 1.15, 3), rng.normal([235, 230, 222], 8)
    brown, grey = np.array([110, 85, 60]) * rng.uniform(0.5, 1.4), np.full(3, rng.uniform(60, 160))
    colour = [black, white, brown, grey][rng.choice(4, p=[0.5, 0.2, 0.15, 0.15])]
    upper = rng.uniform(10, 140, 3) if kind == "duck" and rng.random() < 0.6 else colour
    tail = rng.uniform(0.1, 0.35)
    parts = [trunk(rng, colour, tail), *(wing(rng, colour, tail, side) for side in (-1, 1))]
    tall = {"swan": rng.uniform(0.9, 1.5), "goose": rng.uniform(0.55, 0.85), "duck": rng.uniform(0.3, 0.45)}[kind]
    width, head = KINDS[kind]
    path = neck(rng, tall, dips=kind == "swan" and rng.random() < 0.15)
    width *= rng.uniform(0.85, 1.2)
    t = np.linspace(0, 1, len(path))
    radii = width * (1 + 1.8 * (1 - t) ** 4) * np.where(t > 0.9, 1 + (t - 0.9) * 4, 1)
    parts.append(studio.surface(*shapes.tube(path, np.stack([radii, radii], 1), np.array([0, 1, 0.01]), 14),
                                studio.feathers(rng, upper), rounder=True))
    ahead = path[-1] - path[-4]
    ahead = ahead / np.linalg.norm(ahead) + [1, 0, -0.25]
    return parts + face(rng, path[-1], ahead / np.linalg.norm(ahead), width * head, upper), tall


def trunk(rng: Rng, colour: np.ndarray, tail: float) -> bpy.types.Object:
    x = np.linspace(-1, 1, 28)
    swell = np.sqrt(np.clip(1 - np.abs(x) ** 2.2, 0, 1))
    radii = np.stack([swell * rng.uniform(0.34, 0.46), swell * rng.uniform(0.36, 0.5) * (1 - 0.25 * (x < -0.3))], 1) + 0.01
    middle = np.stack([x, 0 * x, 0.08 + 1.6 * tail * np.clip(-x - 0.4, 0, 1) ** 1.5], 1)
    points, faces = shapes.tube(middle, radii, UP)
    points += (points - middle.repeat(20, 0)) * (0.06 * shapes.waves(rng, points, 8))[:, None]
    return studio.surface(points, faces, studio.feathers(rng, colour), rounder=True)


def wing(rng: Rng, colour: np.ndarray, tail: float, side: int) -> bpy.types.Object:
    """A shell over half of the back, folded or a little raised."""
    raised = rng.choice([0.02, rng.uniform(0.1, 0.3)], p=[0.6, 0.4])
    u, v = np.meshgrid(np.linspace(0, 1, 16), np.linspace(0, np.pi / 2, 10), indexing="ij")
    back = 0.45 - u * rng.uniform(1.3, 1.6)
    out = side * (0.08 + 0.36 * np.sin(v) * np.sin(np.pi * (0.15 + 0.75 * u)))
    up = 0.08 + 0.46 * np.cos(v * 0.9) * (1 - 0.3 * u) + raised * np.sin(np.pi * u) + tail * 0.5 * u**2
    points = np.stack([back, out, up + 0.03 * rng.random((16, 1)) * u], -1).reshape(-1, 3)
    plumage = studio.feathers(rng, colour * rng.uniform(0.85, 1.15))
    return studio.surface(points, shapes.quads(16, 10), plumage, rounder=True)


def neck(rng: Rng, tall: float, dips: bool) -> np.ndarray:
    """The curve from breast to head [30, 3]; `dips`: the head is down at the water."""
    bow, sway = rng.uniform(0, 0.35) * tall, rng.normal(0, 0.15)
    knots = np.array([[0.6, 0, 0.15], [0.92 + bow * 0.3, sway * 0.2, 0.3 + tall * 0.2],
                      [0.85 - bow * 0.4, sway * 0.6, 0.35 + tall * 0.55], [0.85 + bow * 0.1, sway, 0.35 + tall * 0.92],
                      [1.05 + bow * 0.3, sway, 0.35 + tall]])
    if dips:
        knots[3:] = [[1.3, sway, 0.35 + tall * 0.5], [1.5, sway, 0.2 + tall * 0.15]]
    return shapes.through(knots, 30)


def face(rng: Rng, end: np.ndarray, ahead: np.ndarray, size: float, colour: np.ndarray) -> list[bpy.types.Object]:
    """Head, beak and eyes at the end of a neck."""
    x = np.linspace(-1, 1, 14)
    swell = (np.sqrt(np.clip(1 - x**2, 0, 1)) + 0.02) * size
    skull = shapes.tube(end + np.outer(1.35 * size * x + 0.4 * size, ahead), np.stack([swell * 0.85, swell], 1), UP, 14)
    x = np.linspace(0, 1, 10)
    bill = shapes.tube(end + np.outer(1.5 * size + x * size * rng.uniform(1.8, 2.8), ahead) - np.outer(0.2 * size * x, UP),
                       np.stack([0.5 - 0.25 * x, 0.5 * (1 - x) ** 0.7 + 0.08], 1) * size, UP, 10)
    parts = [studio.surface(*skull, studio.feathers(rng, colour), rounder=True),
             studio.surface(*bill, studio.plain(BEAKS[rng.integers(len(BEAKS))]))]
    black = studio.plain((2, 0, 0), 0.1)
    for side in (-1, 1):
        middle = end + ahead * 0.9 * size + size * np.array([0, 0.72 * side, 0.3])
        x = np.linspace(-1, 1, 6)
        radii = np.sqrt(1 - x**2)[:, None] * np.full((1, 2), 0.17 * size) + 1e-4
        parts.append(studio.surface(*shapes.tube(middle + np.outer(0.17 * size * x, UP), radii, ahead, 8), black))
    return parts
