"""The subject's shadow, made from its alpha: how dark each pixel of the background gets, 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor

from ..imaging.boxes import bounds
from ..imaging.resample import blur, part

SHADOWS = ("none", "contact", "drop")
PRESENT = 0.5  # alpha of a pixel that stands on the ground


def shadow(alpha: Tensor, kind: str, softness: float, x: float = 0.0, y: float = 0.0) -> Tensor:
    """The shadow [H,W] of alpha [H,W], moved right and down by x, y.

    drop: on a wall behind: the subject's outline, blurred. contact: on the ground it stands on, under soft light from
    above. `softness` (the blur), x and y are shares of the subject's longer side, so that a shadow keeps its look at
    any size.
    """
    if kind not in SHADOWS:
        raise ValueError(f"expected a shadow of {', '.join(SHADOWS)}, got {kind!r}")
    box = None if kind == "none" else bounds(alpha, PRESENT)
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
    moved = part(cast[None, ..., None], window, (height, width)).clamp(0, 1)
    return blur(moved, softness * side)[0, ..., 0]


def _contact(alpha: Tensor, ground: int, softness: float) -> Tensor:
    """Two layers, as retouchers paint them: a dark one along the line where the subject touches the ground, and over it
    a wide faint one about the ground's row.

    A column of the picture casts from its lowest pixel, the less the higher that hangs above `ground`, the row below
    the subject: feet that stand farther back keep a shadow of their own, a raised arm gets hardly any.
    """
    softness = max(softness, 1.0)
    rows = torch.arange(1, len(alpha) + 1, device=alpha.device, dtype=alpha.dtype)[:, None]
    lowest = torch.where(alpha >= PRESENT, rows, 0).amax(0)
    hanging = torch.where(lowest > 0, ground - lowest, torch.inf)

    def bell(distance: Tensor, width: float) -> Tensor:
        return torch.exp(-0.5 * (distance / width) ** 2)

    tight = torch.exp(-hanging / softness) * bell(rows - lowest, 0.5 * softness)
    along = torch.exp(-hanging / (4 * softness))
    wide = blur(along[None, None, :, None], 1.5 * softness)[0, :, :, 0] * bell(rows - ground, softness)
    return 1 - (1 - tight) * (1 - 0.5 * wide)
