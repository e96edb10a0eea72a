"""Operators on a mask's values, edges and size: levels, grow, feather, resize."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..files.packages import require
from .common import in_full_precision, over_tiles


@in_full_precision
def levels(mask: torch.Tensor, black: float = 0.0, white: float = 1.0) -> torch.Tensor:
    """Stretch mask [B,H,W] linearly so that `black` becomes 0 and `white` becomes 1; what lies outside is clipped."""
    if not black < white:
        raise ValueError(
            f"the black point must lie below the white point, got black {black:g} and white {white:g}: "
            "lower the black point or raise the white point"
        )
    if black == 0 and white == 1:
        return mask
    return ((mask - black) / (white - black)).clamp(0, 1)


@in_full_precision
def grow(mask: torch.Tensor, pixels: float) -> torch.Tensor:
    """Move the edge of mask [B,H,W] outwards by `pixels` (negative: inwards), with a disc, soft edges staying soft.

    Greyscale dilation (erosion): the largest (smallest) alpha within the disc of all pixels whose centre is less
    than pixels + 1/2 away. Between two whole numbers the two results are blended, so a straight edge moves by the
    very fraction. Outside the picture lies a copy of its edge: a subject cut by the frame does not shrink from it.
    Time grows with `pixels`.
    """
    if pixels == 0:
        return mask
    if pixels < 0:  # erosion is the dilation of what is not subject, and max(-x) is exact where 1 - x is not
        return -over_tiles(lambda window: _dilate(window, -pixels), math.ceil(-pixels), -mask)
    return over_tiles(lambda window: _dilate(window, pixels), math.ceil(pixels), mask)


def _dilate(window: torch.Tensor, radius: float) -> torch.Tensor:
    """[h + 2 reach, w + 2 reach] -> [h, w], reach = the radius rounded up."""
    reach = math.ceil(radius)
    larger = _dilate_disc(window, reach)
    if reach == radius:
        return larger
    inner = window[1:-1, 1:-1]
    return torch.lerp(_dilate_disc(inner, reach - 1), larger, radius - (reach - 1))


def _dilate_disc(window: torch.Tensor, radius: int) -> torch.Tensor:
    """Flat dilation by a disc: rows of the disc from its poles to its equator, each only a little wider than the
    one before, so that about four maxima per pixel of radius do it."""
    height, width = window.shape[0] - 2 * radius, window.shape[1] - 2 * radius
    widest = window[:, radius : radius + width].clone()  # over the columns -half..half of the current disc row
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
    """Blur mask [B,H,W] with a Gaussian whose standard deviation is radius / 2 pixels.

    A hard edge becomes a ramp about `radius` pixels to either side (95 % of it). Outside the picture lies a copy of
    its edge; flat areas stay as they are.
    """
    if radius <= 0:
        return mask
    filters = require("kornia.filters", "feather")
    sigma = radius / 2
    side = 2 * math.ceil(3 * sigma) + 1
    result = mask.clone()
    for frame, alpha in zip(result, mask):
        if alpha.amin() == alpha.amax():  # rounding of the kernel's sum would change it
            continue
        # On CUDA in float64: convolutions of float32 are by default rounded to TF32 there.
        alpha = alpha.double() if alpha.is_cuda else alpha
        frame.copy_(filters.gaussian_blur2d(alpha[None, None], side, (sigma, sigma), border_type="replicate")[0, 0])
    return result.clamp_(0, 1)


@in_full_precision
def resize(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bring mask [B,H,W] to size (H,W): bilinear, with antialiasing where it shrinks."""
    if mask.shape[1:] == tuple(size):
        return mask
    if len(mask) == 0:
        return mask.new_empty(0, *size)
    source = mask.cpu() if mask.device.type == "mps" else mask  # MPS has no antialiased interpolation everywhere
    resized = F.interpolate(source[:, None], tuple(size), mode="bilinear", antialias=True)[:, 0]
    return resized.clamp(0, 1).to(mask.device)
