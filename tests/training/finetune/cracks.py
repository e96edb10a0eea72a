"""Wall cracks made procedurally: textures, crack generators and distractors, in two sets that share none of
them.

`pictures("training", 30, seed)` and `pictures("held out", 40, seed)` give images [N,H,W,3] and masks [N,H,W],
float32 in 0..1, 1 = crack. Neither a texture nor a generator of the one set is in the other; what lies about
on the walls is in both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import Voronoi
from skimage.graph import route_through_array
from torch import Tensor

SIDE = 384      # of a picture
FINER = 3       # times finer are lines drawn, for soft edges
WIDTHS = (3.0, 8.0)  # of a crack in pixels, at its widest


def noise(rng: Generator, scale: float, side: int = SIDE) -> np.ndarray:
    """[side,side] with mean 0 and deviation 1: blurred white noise whose blobs are about `scale` pixels."""
    field = ndimage.gaussian_filter(rng.standard_normal((side, side)), scale / 2, mode="wrap")
    return (field - field.mean()) / field.std()


def clouds(rng: Generator, *scales: float) -> np.ndarray:
    """Noise of several scales, the larger the stronger, deviation about 1."""
    field = sum(noise(rng, scale) * weight for scale, weight in zip(scales, (1.0, 0.6, 0.4, 0.3)))
    return field / field.std()


def coloured(rng: Generator, grey: np.ndarray, low: float, high: float,
             warmth: tuple[float, float] = (-0.06, 0.06)
             ) -> np.ndarray:
    """A grey relief about 0 as a wall's colour [H,W,3], bluish to reddish by `warmth`."""
    base = rng.uniform(low, high) * (1 + rng.uniform(*warmth) * np.array([1.0, 0.2, -1.0]))
    return base + grey[..., None] * (1 + 0.1 * rng.uniform(-1, 1, 3))


# Textures for training
# ---------------------------------------------------------------------------------------------


def plaster(rng: Generator) -> np.ndarray:
    """Trowelled: soft clouds, short strokes, fine grain."""
    strokes = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), (1, rng.uniform(5, 12)))
    strokes = ndimage.rotate(strokes, rng.uniform(0, 180), reshape=False, mode="wrap")
    return coloured(rng, 0.03 * clouds(rng, 90, 30) + 0.25 * strokes + 0.015 * noise(rng, 1.5), 0.55, 0.85)


def concrete(rng: Generator) -> np.ndarray:
    """Grey, blotched, with pores, and the marks of its boards."""
    relief = 0.04 * clouds(rng, 60, 20, 6) + 0.03 * noise(rng, 1)
    relief -= 0.2 * (noise(rng, rng.uniform(2, 5)) > 2.6)
    if rng.random() < 0.5:
        pitch = rng.integers(60, 140)
        line = np.abs((np.arange(SIDE) + rng.integers(pitch)) % pitch - pitch / 2)
        board = -0.1 * np.exp(-(line / rng.uniform(1, 2.5)) ** 2)
        relief += board[:, None] if rng.random() < 0.5 else board[None]
    return coloured(rng, relief, 0.4, 0.65, (-0.03, 0.03))


def paint(rng: Generator) -> np.ndarray:
    """Rolled on in a colour: orange peel lit from a side."""
    height = noise(rng, rng.uniform(3, 6))
    lit = height - np.roll(height, (1, 1), (0, 1))
    image = coloured(rng, 0.03 * lit + 0.01 * clouds(rng, 120, 40), 0.5, 0.85)
    return image * (1 - 0.35 * rng.random(3))


# Textures held out ------------------------------------------------------------------------------------------


def bricks(rng: Generator) -> np.ndarray:
    """Courses of bricks, each of its own colour, with mortar between."""
    height, length, joint = rng.integers(34, 60), rng.integers(90, 150), rng.uniform(3, 6)
    y, x = np.mgrid[:SIDE, :SIDE] + 2.0 * np.stack([noise(rng, 20), noise(rng, 20)])
    course = np.floor(y / height).astype(int)
    along = x + course % 2 * length / 2
    column = np.floor(along / length).astype(int)
    tones = rng.uniform(-0.08, 0.08, (64, 64))[course % 64, column % 64]
    edge = np.minimum(np.minimum(y % height, height - y % height),
                      np.minimum(along % length, length - along % length))
    brick = 1 / (1 + np.exp(-(edge - joint) * 1.5))
    red = np.array([0.58, 0.36, 0.28]) * rng.uniform(0.8, 1.25)
    mortar = np.full(3, rng.uniform(0.5, 0.75))
    relief = 0.05 * clouds(rng, 12, 4) + 0.03 * noise(rng, 1)
    return brick[..., None] * (red + tones[..., None]) + (1 - brick[..., None]) * mortar + relief[..., None]


def roughcast(rng: Generator) -> np.ndarray:
    """Pebbles thrown at the wall, each lit from above."""
    places = rng.uniform(0, SIDE, (int(rng.integers(1500, 3500)), 2))
    seeds = np.ones((SIDE, SIDE), bool)
    seeds[tuple(places.astype(int).T)] = False
    height = -ndimage.gaussian_filter(ndimage.distance_transform_edt(seeds), 1)
    lit = ndimage.sobel(height, 0) + 0.5 * ndimage.sobel(height, 1)
    return coloured(rng, 0.035 * lit + 0.02 * clouds(rng, 80, 25), 0.5, 0.8)


def stone(rng: Generator) -> np.ndarray:
    """Sandstone: bent beds of sediment, spots of lichen."""
    y, x = np.mgrid[:SIDE, :SIDE]
    bent = y + rng.uniform(-0.4, 0.4) * x + 14 * noise(rng, 120)
    beds = np.interp(bent % SIDE, np.arange(SIDE),
                     ndimage.gaussian_filter1d(rng.standard_normal(SIDE), 5, mode="wrap"))
    image = coloured(rng, 0.12 * beds + 0.03 * noise(rng, 2) + 0.03 * clouds(rng, 40), 0.5, 0.75, (0.05, 0.2))
    lichen = ndimage.gaussian_filter((clouds(rng, 18, 6) > 1.8).astype(float), 1)[..., None]
    return image + lichen * (np.array([0.68, 0.68, 0.5]) - image) * 0.7


# Cracks for training: lists of lines, each [n,3] of x, y and width
# -------------------------------------------------


def walk(rng: Generator) -> list[np.ndarray]:
    """From one side, a step at a time in a direction that wanders; branches leave at an angle."""
    lines: list[np.ndarray] = []

    def grow(x: float, y: float, angle: float, width: float, steps: int) -> None:
        line = []
        for step in range(steps):
            line.append((x, y, width * (1 - 0.7 * step / steps) * rng.uniform(0.75, 1.25)))
            if not (-20 < x < SIDE + 20 and -20 < y < SIDE + 20):
                break
            angle += rng.normal(0, 0.35) - 0.15 * np.sin(angle - heading)
            x, y = x + 7 * np.cos(angle), y + 7 * np.sin(angle)
            if width > 2.5 and rng.random() < 0.035:
                grow(x, y, angle + rng.choice([-1, 1]) * rng.uniform(0.5, 1.2), 0.6 * width, int(steps * 0.4))
        lines.append(np.array(line))

    side = rng.integers(4)
    heading = side * np.pi / 2 + rng.uniform(-0.6, 0.6)
    start = np.array([SIDE / 2, SIDE / 2]) - SIDE / 2 * np.array([np.cos(side * np.pi / 2),
                                                                  np.sin(side * np.pi / 2)])
    along = rng.uniform(-0.3, 0.3) * SIDE * np.array([np.sin(side * np.pi / 2), np.cos(side * np.pi / 2)])
    grow(*(start + along), heading, rng.uniform(*WIDTHS), int(rng.integers(45, 90)))
    return lines


def map_cracks(rng: Generator) -> list[np.ndarray]:
    """Some edges of a Voronoi diagram that hang together, as shrinking renders have them."""
    cells = Voronoi(rng.uniform(-0.2 * SIDE, 1.2 * SIDE, (int(rng.integers(25, 60)), 2)))
    edges = [tuple(edge) for edge in cells.ridge_vertices if -1 not in edge]
    neighbours: dict[int, list[int]] = {}
    for a, b in edges:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    middle = np.abs(cells.vertices - SIDE / 2).sum(1)
    reached, chosen = {int(min(neighbours, key=lambda vertex: middle[vertex]))}, []
    for _ in range(int(rng.integers(8, 22))):
        ways = sorted((a, b) for a in reached for b in neighbours[a] if b not in reached)
        if not ways:
            break
        chosen.append(ways[rng.integers(len(ways))])
        reached.add(chosen[-1][1])
    width = rng.uniform(*WIDTHS) * 0.8
    lines = []
    for a, b in chosen:
        ends = np.clip(cells.vertices[[a, b]], -SIDE, 2 * SIDE)
        points = np.linspace(*ends, max(2, int(np.linalg.norm(ends[0] - ends[1]) / 6)))
        points[1:-1] += rng.normal(0, 1.5, points[1:-1].shape)
        lines.append(np.column_stack([points, width * rng.uniform(0.6, 1.1, len(points))]))
    return lines


# Cracks held out --------------------------------------------------------------------------------------------


def fissure(rng: Generator) -> np.ndarray:
    """Where smooth noise on a slope is zero: a level set, as wide as a second noise says; its mask."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    field = (np.cos(angle) * x + np.sin(angle) * y) * SIDE + rng.uniform(-60, 60)
    field = field + 14 * noise(rng, 70) + 5 * noise(rng, 22) + 2.2 * noise(rng, 8)
    slope = np.hypot(*np.gradient(field)).clip(0.5)
    width = rng.uniform(*WIDTHS) * (0.8 + 0.3 * noise(rng, 60)).clip(0.15, 1.3)
    return (width / 2 - np.abs(field) / slope + 0.5).clip(0, 1)


def easiest_way(rng: Generator) -> list[np.ndarray]:
    """The cheapest path between two sides through random strength (first-passage percolation), and some that
    join."""
    cost = np.exp(1.1 * noise(rng, 12) + 0.8 * noise(rng, 4))
    ends = [(0, int(rng.integers(60, SIDE - 60))), (SIDE - 1, int(rng.integers(60, SIDE - 60)))]
    if rng.random() < 0.5:
        ends = [end[::-1] for end in ends]
    main, _ = route_through_array(cost, *ends, fully_connected=True)
    routes = [main]
    for _ in range(int(rng.integers(0, 3))):
        start = main[int(rng.integers(len(main)))]
        routes.append(route_through_array(cost, start, tuple(rng.integers(0, SIDE, 2)),
                                          fully_connected=True)[0])
    lines = []
    for n, route in enumerate(routes):
        points = np.array(route, float)[::3, ::-1]
        swell = 1 + 0.3 * ndimage.gaussian_filter1d(rng.standard_normal(len(points)), 4, mode="nearest") * 3
        width = rng.uniform(*WIDTHS) * (0.6 if n else 1)
        lines.append(np.column_stack([points, (width * swell.clip(0.3, 1.4))]))
    return lines


def drawn(lines: list[np.ndarray]) -> np.ndarray:
    """Lines as a mask with soft edges."""
    canvas = Image.new("L", (SIDE * FINER, SIDE * FINER))
    pen = ImageDraw.Draw(canvas)
    for line in lines:
        for (x0, y0, w0), (x1, y1, w1) in zip(line, line[1:]):
            width = max(1.0, FINER * (w0 + w1) / 2)
            pen.line([x0 * FINER, y0 * FINER, x1 * FINER, y1 * FINER], 255, round(width))
            pen.ellipse([x1 * FINER - width / 2, y1 * FINER - width / 2, x1 * FINER + width / 2,
                         y1 * FINER + width / 2], 255)
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64) / 255


# What lies about, in both sets
# -------------------------------------------------------------------------------------


def stain(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Damp: a soft dark patch that runs down."""
    patch = 1 / (1 + np.exp(-6 * (clouds(rng, 90, 30) - rng.uniform(0.8, 1.4))))
    patch = ndimage.gaussian_filter1d(patch, rng.uniform(2, 25), axis=0)[..., None]
    return image * (1 - rng.uniform(0.15, 0.45) * patch * np.array([0.8, 0.9, 1.0]))


def cable(rng: Generator, image: np.ndarray) -> np.ndarray:
    """A smooth tube with a highlight, hung between two sides."""
    t = np.linspace(0, 1, 60)
    start, end, sag = rng.uniform(-20, SIDE + 20), rng.uniform(-20, SIDE + 20), rng.uniform(-120, 120)
    across = start + (end - start) * t + sag * 4 * t * (1 - t)
    points = np.column_stack([t * (SIDE + 20) - 10, across]) if rng.random() < 0.5 else np.column_stack(
        [across, t * (SIDE + 20) - 10])
    width = rng.uniform(5, 11)
    colour = rng.choice([0.1, 0.85, 0.5]) * np.array([1, 1, 1]) + rng.uniform(-0.06, 0.06, 3)
    for grown, tone, opacity, shift in ((1.3, np.zeros(3), 0.3, 3.0), (1.0, colour, 1.0, 0.0),
                                        (0.3, colour + 0.25, 0.7, -1.0)):
        line = drawn([np.column_stack([points + shift, np.full(len(t), width * grown)])])[..., None] * opacity
        image = image * (1 - line) + line * tone
    return image


def shadow(rng: Generator, image: np.ndarray) -> np.ndarray:
    """The edge of one, straight across the wall."""
    y, x = np.mgrid[:SIDE, :SIDE]
    angle = rng.uniform(0, 2 * np.pi)
    distance = np.cos(angle) * (x - SIDE / 2) + np.sin(angle) * (y - SIDE / 2) + rng.uniform(-100, 100)
    return image * (1 - rng.uniform(0.2, 0.45) / (1 + np.exp(-distance / rng.uniform(0.7, 8))))[..., None]


def joint(rng: Generator, image: np.ndarray) -> np.ndarray:
    """A straight seam between two slabs, or a saw's cut."""
    horizontal, place, tilt = rng.random() < 0.5, rng.uniform(40, SIDE - 40), rng.uniform(-6, 6)
    ends = np.array([[-5, place - tilt], [SIDE + 5, place + tilt]])
    points = np.linspace(*(ends if horizontal else ends[:, ::-1]), 20)
    seam = drawn([np.column_stack([points, np.full(20, rng.uniform(2.5, 6))])])[..., None]
    return image * (1 - rng.uniform(0.3, 0.6) * ndimage.gaussian_filter(seam, (0.7, 0.7, 0)))


DISTRACTORS = ((stain, 0.5), (shadow, 0.3), (joint, 0.3), (cable, 0.3))


# Pictures ---------------------------------------------------------------------------------------------------

Crack = Callable[[Generator], "list[np.ndarray] | np.ndarray"]
SETS: dict[str, tuple[tuple[Callable[[Generator], np.ndarray], ...], tuple[Crack, ...]]] = {
    "training": ((plaster, concrete, paint), (walk, map_cracks)),
    "held out": ((bricks, roughcast, stone), (fissure, easiest_way)),
}


def picture(texture: Callable[[Generator], np.ndarray], crack: Crack,
            rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """A wall [SIDE,SIDE,3] and the mask of its crack [SIDE,SIDE]."""
    image = texture(rng)
    for distractor, chance in DISTRACTORS:
        if distractor is not cable and rng.random() < chance:
            image = distractor(rng, image)
    made = crack(rng)
    mask = made if isinstance(made, np.ndarray) else drawn(made)
    strength = rng.uniform(0.4, 1.0)
    ragged = np.stack(np.mgrid[:SIDE, :SIDE]) + strength * np.stack([noise(rng, 3), noise(rng, 3)])
    mask = ndimage.map_coordinates(mask, ragged, order=1, mode="nearest").clip(0, 1)
    depth = ndimage.gaussian_filter(mask, 0.8)[..., None]
    image = image * (1 - rng.uniform(0.55, 0.9) * depth)
    rim = np.roll(mask, (2, 2), (0, 1))[..., None] * (1 - mask[..., None])
    image = image * (1 + rng.uniform(0, 0.25) * rim)
    if rng.random() < dict(DISTRACTORS)[cable]:  # it hangs before the wall, and hides what is behind
        before = image
        image = cable(rng, image)
        mask = mask * (np.abs(image - before).max(-1) < 0.02)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    light = 1 + rng.uniform(-0.35, 0.35) * x + rng.uniform(-0.35, 0.35) * y
    image = ndimage.gaussian_filter(image * light[..., None], (*[rng.uniform(0.2, 0.7)] * 2, 0))
    image = image + rng.normal(0, rng.uniform(0.003, 0.015), image.shape)
    return image.clip(0, 1), mask


def pictures(name: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images [count,SIDE,SIDE,3] and masks [count,SIDE,SIDE] of a set, its textures and cracks in turn."""
    textures, cracks = SETS[name]
    pairs = [picture(textures[i % len(textures)], cracks[i // len(textures) % len(cracks)],
                     np.random.default_rng([seed, len(name), i])) for i in range(count)]
    images, masks = (torch.from_numpy(np.stack(part)).float() for part in zip(*pairs))
    return images, masks
