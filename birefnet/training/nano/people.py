"""Rendered people with alpha: Anny's CC0 body model (pip: anny, roma, trimesh), a rasteriser, hair and clothes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw

SKIN = np.array([[242, 206, 180], [224, 177, 144], [198, 146, 110], [160, 108, 76], [112, 74, 52], [70, 46, 36]], float)
HAIR = np.array([[24, 20, 20], [52, 36, 28], [92, 60, 38], [140, 98, 58], [202, 166, 110], [170, 168, 166],
                 [120, 50, 28]], float)
# Joints that bend, and by how many radians at most.
JOINTS = {"upperarm01": 0.9, "lowerarm01": 0.9, "upperleg01": 0.45, "lowerleg01": 0.4, "clavicle": 0.12, "wrist": 0.4}
SPINE = {"spine05": 0.08, "spine03": 0.12, "spine01": 0.12, "neck01": 0.15, "neck03": 0.15, "head": 0.25}


@functools.cache
def body_model():
    """Anny with its facial actions; the first call on a machine builds its cache (about 90 s)."""
    import anny

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anny.Anny(facial_actions="all").to(dtype=torch.float32)


def person(rng: np.random.Generator, texture: Callable[[np.random.Generator], np.ndarray], height: int = 384
           ) -> tuple[np.ndarray, str]:
    """One person as uint8 RGBA [h, w, 4] and how it is framed: "full", "half" or "head" (the last two cut below).

    texture(rng) -> uint8 [h, w, 3] supplies what the clothes are made of.
    """
    model = body_model()
    faces = model.faces.numpy()
    rest, posed = _pose(model, rng)
    framing = str(rng.choice(["full", "half", "head"], p=[0.25, 0.35, 0.4]))
    eye = rest[_owned(model, "eye")].mean(0)
    hair = _scalp(model, rest, eye)
    colour, clothed = _paint(model, rng, rest, eye, hair)
    if rng.random() < 0.1:
        hair = np.zeros_like(hair)
    puff = clothed * rng.uniform(0.004, 0.022) + hair * rng.uniform(0.008, 0.035)
    waves = np.sin(rest * rng.uniform(20, 60, 3) + rng.uniform(0, 6, 3)).sum(1)
    posed = posed + _normals(posed, faces) * (puff * (1 + 0.3 * waves))[:, None]

    yaw, pitch = rng.normal(0, 0.5), rng.normal(0, 0.1)
    points = posed @ (_rotation(np.array([pitch, 0, 0])) @ _rotation(np.array([0, 0, yaw]))).T
    normals = _normals(points, faces)
    focus = points[_owned(model, "eye")].mean(0)
    crown = rest[:, 2].max() - eye[2]  # eye to crown sets the scale of a head
    screen, scale, width = _project(rng, points, focus, crown, framing, 2 * height, bald=not hair.any())

    index, bary = rasterise(screen, points[:, 1], faces, 2 * height, width)
    seen = index >= 0
    mix = functools.partial(_mix, faces[index[seen]], bary[seen])
    cloth = _cloth(rng, texture(rng), mix(rest))
    albedo = np.where(mix(clothed[:, None]) > 0.5, cloth, mix(colour))
    canvas = np.zeros((2 * height, width, 4), np.uint8)
    canvas[seen, :3] = np.clip(albedo * _light(rng, mix(normals))[:, None], 0, 255)
    canvas[seen, 3] = 255
    drawn = Image.fromarray(canvas, "RGBA")
    if hair.any():
        drawn = _strands(rng, drawn, screen, points, normals, hair, colour, scale)
    return np.asarray(drawn.resize((max(1, width // 2), height), Image.BOX)), framing


def _project(rng, points, focus, crown, framing, side, bald):
    """Pixel positions [V, 2], pixels per metre, and the picture's width, for a picture `side` pixels high."""
    top = points[:, 2].max() + (0.02 if bald else 0.05)
    half, head = crown * rng.uniform(5.5, 9), crown * rng.uniform(3.2, 5)
    span = {"full": top - points[:, 2].min() + 0.02, "half": half, "head": head}[framing]
    perspective = 1 / (1 + (points[:, 1] - focus[1]) / rng.uniform(1.5, 4))
    across = np.abs((points[:, 0] - focus[0])[points[:, 2] > top - span]).max() + 0.12
    scale = side / span
    width = int(min(2 * across, span * 1.6) * scale)
    x = width / 2 + (points[:, 0] - focus[0]) * perspective * scale
    y = (top - focus[2] - (points[:, 2] - focus[2]) * perspective) * scale
    return np.stack([x, y], 1), scale, width


def _light(rng, normals: np.ndarray) -> np.ndarray:
    """Brightness [N] under one lamp, mostly in front and above, and ambient light."""
    lamp = rng.normal(0, 1, 3) * [1, 0.5, 0.6] + [0, -1.2, 0.6]
    ambient = rng.uniform(0.35, 0.75)
    return ambient + (1.1 - ambient) * np.clip(normals @ lamp / np.linalg.norm(lamp), -0.3, 1)


def _mix(corners: np.ndarray, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of vertices [V, D] at points inside faces: corners and weights [N, 3] give [N, D]."""
    return (values[corners] * weights[..., None]).sum(1)


def rasterise(screen: np.ndarray, depth: np.ndarray, faces: np.ndarray, height: int, width: int):
    """Nearest face [height, width] (-1 = none) and barycentric weights [height, width, 3], by dense point samples.

    screen: [V, 2] in pixels (x, y); depth: [V], larger is farther; faces: [F, 3], seen from both sides.
    """
    corner = screen[faces]
    extent = np.ptp(corner, axis=1).max(1)
    inside = (corner.max(1) >= 0).all(1) & (corner.min(1) < [width, height]).all(1)
    pixels, faces_of, weights, depths = [], [], [], []
    steps = [0, 2, 4, 6, 9, 14, 22, 34, 60, 120, 10**9]
    for low, high in zip(steps, steps[1:]):
        chosen = np.flatnonzero(inside & (extent > low) & (extent <= high))
        if not len(chosen):
            continue
        n = int(min(high, 200) * 1.3) + 2
        i, j = np.meshgrid(np.arange(n), np.arange(n))
        grid = np.stack([i, j], -1)[i + j < n] / (n - 1)
        grid = np.concatenate([grid, 1 - grid.sum(1, keepdims=True)], 1)
        where = np.floor(np.einsum("kc,fcd->fkd", grid, corner[chosen])).astype(np.int64)
        keep = (where >= 0).all(-1) & (where < [width, height]).all(-1)
        face, sample = np.nonzero(keep)
        pixels.append(where[face, sample] @ [1, width])
        faces_of.append(chosen[face])
        weights.append(grid[sample])
        depths.append((grid[sample] * depth[faces[chosen[face]]]).sum(1))
    index = np.full(height * width, -1)
    bary = np.zeros((height * width, 3))
    if pixels:
        pixels, faces_of, weights, depths = map(np.concatenate, (pixels, faces_of, weights, depths))
        order = np.argsort(-depths, kind="stable")  # the nearest is written last and stays
        index[pixels[order]] = faces_of[order]
        bary[pixels[order]] = weights[order]
    return index.reshape(height, width), bary.reshape(height, width, 3)


def _pose(model, rng):
    labels = list(model.bone_labels)
    turns = np.tile(np.eye(4), (len(labels), 1, 1))
    for i, label in enumerate(labels):
        name = label.split(".")[0]
        reach = {**JOINTS, **SPINE}.get(name)
        if name.startswith("finger"):
            reach = 0.25
        if reach:
            turns[i, :3, :3] = _rotation(rng.uniform(-reach, reach, 3))
    phenotype = {key: float(rng.uniform(0.1, 0.9)) for key in model.phenotype_labels}
    phenotype["age"] = float(rng.uniform(0.3, 0.95))  # below .3 are babies
    faces = {key: float(rng.uniform(0, 0.6)) for key in rng.choice(model.facial_action_labels, 4, replace=False)}
    with torch.no_grad():
        out = model(pose_parameters=torch.from_numpy(turns[None]).float(), phenotype_kwargs=phenotype,
                    facial_actions=faces)
    return out["rest_vertices"][0].numpy().astype(float), out["vertices"][0].numpy().astype(float)


def _owned(model, *names: str) -> np.ndarray:
    """Vertices that mostly follow bones whose names start so: bool [V]."""
    owner = _owner(model)
    return np.isin(owner, [i for i, label in enumerate(model.bone_labels) if label.startswith(names)])


@functools.cache
def _owner(model) -> np.ndarray:
    strongest = model.vertex_bone_weights.argmax(1, keepdim=True)
    return model.vertex_bone_indices.gather(1, strongest)[:, 0].numpy()


def _scalp(model, rest, eye) -> np.ndarray:
    head = _owned(model, "head", "neck03")
    up, back = rest[:, 2] - eye[2], rest[:, 1] - eye[1]
    return (head & ((up > 0.055) | ((back > 0.075) & (up > -0.07)))).astype(float)


def _paint(model, rng, rest, eye, hair):
    """Colour [V, 3] of skin, eyes, brows, lips and hair; clothed [V] in 0..1."""
    skin = SKIN[rng.integers(len(SKIN))] * rng.uniform(0.85, 1.1)
    grain = rng.normal(0, 4, (len(rest), 1))
    colour = skin + grain + 14 / 3 * np.sin(rest * 25 + rng.uniform(0, 6, 3)).sum(1, keepdims=True)
    tint = HAIR[rng.integers(len(HAIR))] * rng.uniform(0.7, 1.2)
    eyes = _owned(model, "eye")
    offset = np.abs(rest - eye)
    width = offset[eyes, 0].mean()  # half the distance between the eyes
    up, front = rest[:, 2] - eye[2], eye[1] - rest[:, 1]
    brow = (np.abs(offset[:, 0] - width) < 0.022) & (np.abs(up - 0.022) < 0.006) & (front > -0.01)
    lips = (offset[:, 0] < 0.024) & (np.abs(up + 0.068) < 0.009) & (front > -0.005)
    colour[lips] = colour[lips] * 0.5 + np.array([150, 50, 55]) * 0.5
    colour[brow] = tint * 0.8
    colour[eyes] = 225
    pupil = eyes & (np.hypot(offset[:, 0] - width, up) < 0.006) & (front > 0)
    colour[pupil] = 25
    colour = np.where(hair[:, None] > 0, tint + rng.normal(0, 12, (len(rest), 1)), colour)
    bare = ["head", "eye", "neck02", "neck03", "wrist", "finger", "metacarpal"]
    bare += [["lowerarm"], ["lowerarm", "upperarm02"], []][rng.integers(3)]
    bare += [["foot", "toe", "lowerleg"], [], ["neck01"]][rng.integers(3)]
    return np.clip(colour, 0, 255), 1.0 - _owned(model, *bare)


def _cloth(rng, patch: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Texture of the clothes at rest positions [N, 3], trousers of another tone than the shirt."""
    plain = rng.uniform(10, 245, 3)
    kind = rng.random()
    zoom = rng.uniform(200, 900)
    u, v = (rest[:, 0] * zoom).astype(int) % patch.shape[1], (rest[:, 2] * zoom).astype(int) % patch.shape[0]
    cloth = patch[v, u].astype(float)
    if kind < 0.45:
        cloth = plain + (cloth - cloth.mean(0)) * rng.uniform(0, 0.4)
    elif kind < 0.6:
        cloth = np.where(np.sin(rest[:, 2:] * rng.uniform(60, 300)) > 0, plain, cloth)
    trousers = rest[:, 2] < rng.uniform(-0.02, 0.1)
    cloth[trousers] = rng.uniform(10, 200, 3) + (cloth[trousers] - cloth.mean(0)) * 0.3
    return cloth


def _strands(rng, body: Image.Image, screen, points, normals, hair, colour, scale) -> Image.Image:
    """Hair strands behind and in front of the body, falling and curling."""
    roots = rng.choice(np.flatnonzero(hair), rng.integers(300, 1500))
    length = rng.choice([0.05, 0.1, 0.28, 0.4], p=[0.4, 0.2, 0.25, 0.15]) * rng.uniform(0.6, 1.3)
    curl, wave = rng.uniform(0, 0.02), rng.uniform(5, 30)
    centre = points[hair > 0].mean(0)
    behind, before = Image.new("RGBA", body.size), Image.new("RGBA", body.size)
    pens = {True: ImageDraw.Draw(behind), False: ImageDraw.Draw(before)}
    t = np.linspace(0, 1, 9)[:, None]
    for root in roots:
        # Strands from the front stay short, so that faces are seen.
        front = points[root, 1] < centre[1] - 0.02
        reach = length * rng.uniform(0.5, 1.1) * (0.25 if front else 1)
        out = normals[root, [0, 2]] * [1, -1]
        fall = np.array([0.15 * np.sign(points[root, 0] - centre[0]), 1.0])
        path = out * 0.05 * (1 - (1 - t) ** 2) * min(1, reach / 0.08) + fall * t**1.6 * reach
        path += rng.normal(0, 0.006, 2) * t
        path[:, :1] += curl * np.sin(t * wave * reach * 10 + rng.uniform(0, 6)) * t
        ink = np.clip(colour[root] * rng.uniform(0.6, 1.35), 0, 255).astype(int)
        line = [tuple(p) for p in screen[root] + path * scale]
        pens[not front].line(line, fill=(*ink, 255), width=int(rng.integers(1, 4 if reach < 0.1 else 6)))
    behind.alpha_composite(body)
    behind.alpha_composite(before)
    return behind


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (points[faces[:, i]] for i in range(3))
    flat = np.cross(b - a, c - a)
    normals = np.stack([sum(np.bincount(faces[:, i], flat[:, d], len(points)) for i in range(3)) for d in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _rotation(turn: np.ndarray) -> np.ndarray:
    """Rotation matrix of an axis-angle vector (Rodrigues)."""
    angle = np.linalg.norm(turn)
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = turn / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
