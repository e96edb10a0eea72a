"""Operators on a mask's values, edges and size: levels, grow, feather, resize."""

from __future__ import annotations

import math

import torch

from ..files.packages import require
from ..imaging.resize import resample
from .common import in_full_precision, over_tiles


@in_full_precision
def levels(mask: torch.Tensor, black: float = 0.0, white: float = 1.0) -> torch.Tensor:
    """Stretch a mask linearly so that `black` becomes 0 and `white` becomes 1, and clip the rest.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        black, white: values in 0..1, black < white.

    Returns:
        The mask of the same shape and dtype.

    Raises:
        ValueError: the mask is not float [B,H,W], or black is not below white.
    """
    if not black < white:
        raise ValueError("Lower the black point or raise the white point: the black point must lie below the "
                         f"white point, got black {black:g} and white {white:g}")
    if black == 0 and white == 1:
        return mask
    return ((mask - black) / (white - black)).clamp(0, 1)


@in_full_precision
def grow(mask: torch.Tensor, pixels: float) -> torch.Tensor:
    """Move the edge of a mask outwards by a disc; soft edges stay soft.

    Greyscale dilation, or erosion for negative `pixels`: the largest (smallest) alpha among all pixels whose
    centre is less than |pixels| + 1/2 away. Between two whole numbers the two results are interpolated, so
    that a straight edge moves by the exact fraction. Outside the picture its border pixels are repeated: a
    subject cut off by the border does not shrink from it. Written out: kornia's morphology takes 5 to 30
    times as long.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        pixels: outwards, negative inwards; time grows with it.

    Returns:
        The mask of the same shape and dtype.

    Raises:
        ValueError: the mask is not float [B,H,W].
    """
    if pixels == 0:
        return mask
    if pixels < 0:  # erosion is the dilation of what is not subject, and max(-x) is exact where 1 - x is not
        return -over_tiles(lambda window: _dilate(window, -pixels), math.ceil(-pixels), -mask)
    return over_tiles(lambda window: _dilate(window, pixels), math.ceil(pixels), mask)


def _dilate(window: torch.Tensor, radius: float) -> torch.Tensor:
    """Dilate by a disc of any radius: [h + 2 reach,w + 2 reach] -> [h,w], reach = the radius rounded up."""
    reach = math.ceil(radius)
    larger = _dilate_disc(window, reach)
    if reach == radius:
        return larger
    inner = window[1:-1, 1:-1]
    return torch.lerp(_dilate_disc(inner, reach - 1), larger, radius - (reach - 1))


def _dilate_disc(window: torch.Tensor, radius: int) -> torch.Tensor:
    """Dilate by a disc of a whole radius: [h + 2 radius,w + 2 radius] -> [h,w].

    The disc's rows are processed from the outermost to the middle one. Each is a little wider than the one
    before and extends its maximum, so that about four maxima per pixel of radius are enough.
    """
    height, width = window.shape[0] - 2 * radius, window.shape[1] - 2 * radius
    widest = window[:, radius : radius + width].clone()  # maxima over columns -half..half of the disc's row
    result = torch.full_like(widest[:height], -torch.inf)
    half = 0
    for row in range(radius, -1, -1):
        while (half + 1) ** 2 + row**2 < (radius + 0.5) ** 2:
            half += 1
            for column in (radius - half, radius + half):
                torch.maximum(widest, window[:, column : column + width], out=widest)
        for top in {radius - row, radius + row}:
            torch.maximum(result, widest[top : top + height], out=result)
    return result


@in_full_precision
def feather(mask: torch.Tensor, radius: float) -> torch.Tensor:
    """Blur a mask with a Gaussian whose standard deviation is radius / 2 pixels.

    A hard edge becomes a ramp of about `radius` pixels to either side (95 % of it). Outside the picture its
    border pixels are repeated; frames with a single value are unchanged.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        radius: pixels; 0 or less changes nothing.

    Returns:
        The mask of the same shape and dtype.

    Raises:
        ValueError: the mask is not float [B,H,W].
        PackageError: kornia is missing.
    """
    if radius <= 0:
        return mask
    filters = require("kornia.filters", "feather")
    sigma = radius / 2
    side = 2 * math.ceil(3 * sigma) + 1
    result = mask.clone()
    for frame, alpha in zip(result, mask):
        if alpha.amin() == alpha.amax():  # the kernel's sum is not exactly 1, which would change it
            continue
        # CUDA rounds convolutions of float32 to TF32 by default, but not those of float64.
        alpha = alpha.double() if alpha.is_cuda else alpha
        alpha = alpha[None, None]
        frame.copy_(filters.gaussian_blur2d(alpha, side, (sigma, sigma), border_type="replicate")[0, 0])
    return result.clamp_(0, 1)


@in_full_precision
def resize(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize a mask bilinearly, with antialiasing where it shrinks.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        size: height and width of the result in pixels.

    Returns:
        float [B,*size] in 0..1.

    Raises:
        ValueError: the mask is not float [B,H,W].
    """
    if mask.shape[1:] == tuple(size):
        return mask
    if len(mask) == 0:
        return mask.new_empty(0, *size)
    return resample(mask[:, None], tuple(size))[:, 0].clamp(0, 1)
