"""Simulates prompts for a subject whose matte is known: clicks, boxes and strokes with a hand's error."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from birefnet.imaging.boxes import Box

Rng = np.random.Generator


def inner(alpha: np.ndarray) -> np.ndarray:
    """Return the pixels that a user would click: the solid part, eroded if a tenth of it remains."""
    solid = alpha > 0.9
    eroded = ndimage.binary_erosion(solid, iterations=max(1, round(0.01 * max(alpha.shape))))
    return eroded if eroded.sum() > 0.1 * solid.sum() else solid


def draw_click(alpha: np.ndarray, rng: Rng) -> tuple[int, int]:
    """Draw a random pixel (x, y) inside the subject, or of its most opaque ones if it has no solid part."""
    rows, columns = np.nonzero(inner(alpha))
    if not len(rows):
        rows, columns = np.nonzero(alpha == alpha.max())
    i = rng.integers(len(rows))
    return int(columns[i]), int(rows[i])


def true_box(alpha: np.ndarray) -> Box:
    """Return the smallest box around alpha above 1/2."""
    rows, columns = (np.flatnonzero((alpha > 0.5).any(axis)) for axis in (1, 0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def draw_box(alpha: np.ndarray, rng: Rng, off: float = 0.03) -> Box:
    """Draw the subject's box with a hand's error: each side is off by up to `off` times the box's size."""
    box = true_box(alpha)
    h, w = box.height, box.width
    d = rng.uniform(-off, off, 4)
    moved = np.round([box.top + d[0] * h, box.left + d[1] * w, box.bottom + d[2] * h, box.right + d[3] * w])
    top, left, bottom, right = moved.astype(int)
    height, width = alpha.shape
    return Box(max(0, top), max(0, left), min(height, max(bottom, top + 2)), min(width, max(right, left + 2)))


def draw_scribble(alpha: np.ndarray, rng: Rng, width: int = 0) -> np.ndarray:
    """Draw a stroke through two to four random pixels of the subject.

    Args:
        alpha: [H,W], the subject's matte.
        rng: source of all randomness.
        width: of the stroke in pixels; 0 for 1/80 of the longer side.

    Returns:
        float32 [H,W], 0 or 1.
    """
    inside = inner(alpha)
    rows, columns = np.nonzero(inside)
    order = rng.integers(len(rows), size=rng.integers(2, 5))
    stroke = Image.new("L", alpha.shape[::-1])
    ImageDraw.Draw(stroke).line([(int(columns[i]), int(rows[i])) for i in order], fill=255,
                                width=width or max(3, round(max(alpha.shape) / 80)))
    drawn = (np.asarray(stroke) > 0) & (alpha > 0.5)
    if not drawn.any():
        drawn[rows[order[0]], columns[order[0]]] = True
    return drawn.astype(np.float32)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two mattes, each thresholded at 1/2."""
    one, other = one > 0.5, other > 0.5
    return float((one & other).sum() / max(1, (one | other).sum()))
