"""Mask operators: pure functions on masks [B,H,W] in 0..1 (1 = subject), of any float dtype, on any device.

Every operator computes in float32 (float64 stays float64) and returns the mask's dtype, device and, but for `resize`,
its shape. Every default of `refine` leaves the mask as it is, bit for bit.
"""

from __future__ import annotations

import torch

from . import shape
from .guided import guided_edges
from .regions import drop_specks, fill_holes, keep_largest
from .shape import feather, grow, levels, resize
from .trimap import UNKNOWN, trimap

__all__ = ["UNKNOWN", "drop_specks", "feather", "fill_holes", "grow", "guided_edges", "keep_largest", "levels", "refine",
           "resize", "trimap"]


def refine(
    mask: torch.Tensor,
    image: torch.Tensor | None = None,
    *,
    black: float = 0.0,
    white: float = 1.0,
    grow: float = 0.0,
    feather: float = 0.0,
    fill: float = 0,
    specks: float = 0,
    largest: int = 0,
    radius: int = 0,
    strength: float = 1.0,
) -> torch.Tensor:
    """Apply the operators to mask [B,H,W] in this order:

    1. resize to the image [B or 1,H,W,C], if there is one of another size: areas and radii then count its pixels;
    2. levels (`black`, `white`): what is subject at all is settled before regions are measured;
    3. keep the `largest` regions, drop `specks`, `fill` holes: in this order a speck inside a hole is gone before the
       hole is measured;
    4. guided edges (`radius`, `strength`), if there is an image: before growing, which they would undo;
    5. `grow` or shrink: counted from the edge as it finally lies;
    6. `feather`: last, so that nothing sharpens the softness asked for.
    """
    if image is not None:
        mask = resize(mask, image.shape[1:3])
    mask = levels(mask, black, white)
    mask = keep_largest(mask, largest)
    mask = drop_specks(mask, specks)
    mask = fill_holes(mask, fill)
    if image is not None:
        mask = guided_edges(mask, image, radius, strength)
    mask = shape.grow(mask, grow)
    return shape.feather(mask, feather)
