"""The subject's shadow, made from its alpha."""

from __future__ import annotations

import torch
from torch import Tensor

from ..imaging.boxes import bounding_box
from ..imaging.resample import blur, resample_box

SHADOWS = ("none", "contact", "drop")
GROUND_ALPHA = 0.5  # pixels with at least this alpha touch the ground


def cast_shadow(alpha: Tensor, kind: str, softness: float, x: float = 0.0, y: float = 0.0) -> Tensor:
    """Make a shadow: how dark each pixel of the background gets.

    Args:
        alpha: float [H,W] in 0..1, 1 = subject.
        kind: "none"; "drop", on a wall behind: the subject's outline, blurred; "contact", on the ground it
            stands on, under soft light from above.
        softness: blur, as a share of the subject's longer side, so that a shadow looks the same at every
            size.
        x, y: displacement right and down, as shares of the same.

    Returns:
        float [H,W] in 0..1.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in SHADOWS:
        raise ValueError(f"Choose a shadow of {', '.join(SHADOWS)}: it is {kind!r}")
    box = None if kind == "none" else bounding_box(alpha, GROUND_ALPHA)
    if box is None:
        return torch.zeros_like(alpha)
    side = max(box.bottom - box.top, box.right - box.left)
    if kind == "drop":
        cast = alpha
    else:
        cast = _contact(alpha, box.bottom, softness * side)
        softness /= 4
    height, width = alpha.shape
    window = (-y * side, -x * side, height - y * side, width - x * side)
    moved = resample_box(cast[None, ..., None], window, (height, width)).clamp(0, 1)
    return blur(moved, softness * side)[0, ..., 0]


def _contact(alpha: Tensor, ground: int, softness: float) -> Tensor:
    """The two layers that retouchers paint: a dark one along the line where the subject touches the ground,
    and over it a wide faint one around the ground's row.

    A column of the picture casts from its lowest pixel, less the higher that is above `ground`, the row below
    the subject: feet that stand farther back keep a shadow of their own, a raised arm gets hardly any.

    Args:
        alpha: float [H,W] in 0..1.
        ground: row.
        softness: pixels.

    Returns:
        float [H,W] in 0..1.
    """
    softness = max(softness, 1.0)
    rows = torch.arange(1, len(alpha) + 1, device=alpha.device, dtype=alpha.dtype)[:, None]
    lowest = torch.where(alpha >= GROUND_ALPHA, rows, 0).amax(0)
    hanging = torch.where(lowest > 0, ground - lowest, torch.inf)

    def bell(distance: Tensor, width: float) -> Tensor:
        return torch.exp(-0.5 * (distance / width) ** 2)

    tight = torch.exp(-hanging / softness) * bell(rows - lowest, 0.5 * softness)
    along = torch.exp(-hanging / (4 * softness))
    wide = blur(along[None, None, :, None], 1.5 * softness)[0, :, :, 0] * bell(rows - ground, softness)
    return 1 - (1 - tight) * (1 - 0.5 * wide)
