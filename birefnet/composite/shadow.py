"""The subject's shadow, made from its alpha."""

from __future__ import annotations

import torch
from torch import Tensor

from ..imaging.boxes import bounding_box
from ..imaging.transform import blur, resample_box

SHADOWS = ("none", "contact", "drop")
GROUND_ALPHA = 0.5  # pixels with at least this alpha touch the ground


def cast_shadow(alpha: Tensor, kind: str, softness: float, x: float = 0.0, y: float = 0.0) -> Tensor:
    """Make a shadow: the share of light that each pixel of the background loses.

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
    side = box.longer_side
    if kind == "drop":
        cast = alpha
    else:
        cast = _contact_shadow(alpha, box.bottom, softness * side)
        softness /= 4
    height, width = alpha.shape
    window = (-y * side, -x * side, height - y * side, width - x * side)
    moved = resample_box(cast[None, ..., None], window, (height, width)).clamp(0, 1)
    return blur(moved, softness * side)[0, ..., 0]


def _contact_shadow(alpha: Tensor, ground: int, softness: float) -> Tensor:
    """Make a contact shadow of two layers, as retouchers do: a dark one along the line where the subject
    touches the ground, and a wide faint one around the ground's row.

    Each column of the picture casts its shadow from its lowest pixel; the higher that is above `ground`, the
    fainter the shadow: feet that stand farther back keep one of their own, a raised arm gets hardly any.

    Args:
        alpha: float [H,W] in 0..1.
        ground: the row below the subject.
        softness: pixels.

    Returns:
        float [H,W] in 0..1.
    """
    softness = max(softness, 1.0)
    rows = torch.arange(1, len(alpha) + 1, device=alpha.device, dtype=alpha.dtype)[:, None]
    lowest = torch.where(alpha >= GROUND_ALPHA, rows, 0).amax(0)
    raised = torch.where(lowest > 0, ground - lowest, torch.inf)

    def gaussian(distance: Tensor, width: float) -> Tensor:
        return torch.exp(-0.5 * (distance / width) ** 2)

    tight = torch.exp(-raised / softness) * gaussian(rows - lowest, 0.5 * softness)
    along = torch.exp(-raised / (4 * softness))
    wide = blur(along[None, None, :, None], 1.5 * softness)[0, :, :, 0] * gaussian(rows - ground, softness)
    return 1 - (1 - tight) * (1 - 0.5 * wide)
