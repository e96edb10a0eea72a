"""Mask operators: pure functions on masks [B,H,W] in 0..1 (1 = subject), of any float dtype, on any device.

Every operator computes in float32 (float64 stays float64) and returns the mask's dtype and device and, except
for `resize`, its shape. With the defaults `refine` returns the mask unchanged, bit for bit.
"""

from __future__ import annotations

import torch

from . import shape
from .guided import guided_edges
from .regions import drop_specks, fill_holes, keep_largest
from .shape import feather, grow, levels, resize
from .trimaps import UNKNOWN, trimap

__all__ = ["UNKNOWN", "drop_specks", "feather", "fill_holes", "grow", "guided_edges", "keep_largest",
           "levels", "refine", "resize", "trimap"]


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
    """Apply the operators to a mask, in an order in which none undoes another:

    1. `resize` to the image, if there is one of another size: areas and radii count the image's pixels;
    2. `levels`: decides what is subject before regions are measured;
    3. `keep_largest`, `drop_specks`, `fill_holes`: a speck in a hole is removed before the hole is measured;
    4. `guided_edges`, if there is an image: before growing, which it would undo;
    5. `grow`: from where the edge finally lies;
    6. `feather`: last, so that nothing sharpens it again.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        image: float [B or 1,h,w,C] in 0..1, C 1, 3 or 4.
        black, white: the mask's values that become 0 and 1, black < white.
        grow: pixels outwards, negative inwards.
        feather: radius in pixels.
        fill: area in pixels up to which holes are filled, 0 for none.
        specks: area in pixels below which regions are removed, 0 for none.
        largest: number of the largest regions that are kept, 0 for all.
        radius: pixels of the guided filter, 0 for none.
        strength: of the guided filter, 0..1.

    Returns:
        The mask [B,H,W], or [B,h,w] with an image.

    Raises:
        ValueError: the mask is not float [B,H,W], or black is not below white.
        UserError: a value of the mask or of the image is not finite, with a guided filter.
        PackageError: kornia or SciPy is missing where an operator needs it.
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
