"""Resample any part of a picture at any size, turn it, and blur it with wide Gaussians."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .resize import convolve, resample

Size = tuple[int, int]  # height, width
Rectangle = tuple[float, float, float, float]  # top, left, bottom, right in pixels, with fractions

CUBIC_REACH = 2  # pixels that the cubic kernel reaches to either side
BLOCK_PIXELS = 64  # output pixels per matrix product, so that each product needs a short stretch of the input
LARGEST_FULL_SIGMA = 4.0  # pixels: wider blurs are computed on a reduced picture


def to_planar(image: Tensor) -> Tensor:
    """Store each channel of an image [B,H,W,C] contiguously: arithmetic with a mask is then several times
    faster."""
    return image.movedim(-1, 1).contiguous().movedim(1, -1)


def resample_box(image: Tensor, box: Rectangle, size: Size) -> Tensor:
    """Resample a part of a picture at another size.

    Bicubic (Keys 1981 with a = -1/2, Catmull-Rom), with the kernel widened where it shrinks, against
    aliasing. Pixel (i, j) covers [i, i+1) × [j, j+1). Outside the picture its border pixels are repeated;
    `coverage` gives the share that lies inside. `F.interpolate(mode="bicubic", antialias=True)` takes neither
    fractions nor parts beyond the border, where it cuts off the kernel and differs by up to 0.04.

    Args:
        image: float [B,H,W,C].
        box: the part, as (top, left, bottom, right) in pixels; may have fractions and reach beyond the
            picture.
        size: height and width of the result in pixels.

    Returns:
        float [B,*size,C]. It overshoots the input's range at hard edges. An exact copy where the box has
        whole pixels and `size`.
    """
    top, left, bottom, right = box
    x = image.movedim(-1, 1)
    if (left, right) != (0, x.shape[3]) or size[1] != x.shape[3]:
        x = _resample_columns(x, left, right, size[1])
    if (top, bottom) != (0, x.shape[2]) or size[0] != x.shape[2]:
        x = _resample_columns(x.mT, top, bottom, size[0]).mT
    return x.movedim(1, -1)


def coverage(picture: Size, box: Rectangle, size: Size) -> Tensor:
    """Compute how much of each pixel of `resample_box` lies inside the picture.

    Args:
        picture: height and width of the picture in pixels.
        box, size: as for `resample_box`.

    Returns:
        float32 [*size] in 0..1: the exact share of each pixel's area.
    """
    sides = []
    for length, start, stop, count in zip(picture, box[:2], box[2:], size):
        step = (stop - start) / count
        ends = (start + torch.arange(count + 1, dtype=torch.float64) * step).clamp(0, length)
        sides.append(ends.diff() / step)
    return (sides[0][:, None] * sides[1]).float()


def turn(
    image: Tensor, degrees: float, pivot: tuple[float, float], origin: tuple[float, float], size: Size
) -> Tensor:
    """Turn a picture clockwise; its size in pixels stays.

    Bicubic (`torch.nn.functional.grid_sample`), 0 outside the picture.

    Args:
        image: float [B,H,W,C].
        degrees: clockwise, any number.
        pivot: row and column, in pixels of the picture, around which it turns; may have fractions and lie
            outside.
        origin: row and column, in pixels of the picture, of the result's top left corner.
        size: height and width of the result in pixels.

    Returns:
        float [B,*size,C]. It overshoots the input's range at hard edges.
    """
    angle = math.radians(degrees)
    rows, columns = (torch.arange(count, dtype=torch.float64, device=image.device) + 0.5 + start - middle
                     for count, start, middle in zip(size, origin, pivot))
    y = pivot[0] + math.cos(angle) * rows[:, None] - math.sin(angle) * columns
    x = pivot[1] + math.sin(angle) * rows[:, None] + math.cos(angle) * columns
    places = torch.stack([2 * x / image.shape[2] - 1, 2 * y / image.shape[1] - 1], -1).to(image.dtype)
    turned = F.grid_sample(image.movedim(-1, 1), places.expand(len(image), -1, -1, -1), "bicubic", "zeros",
                           align_corners=False)
    return turned.movedim(1, -1)


def turned_bounds(size: Size, degrees: float, pivot: tuple[float, float]) -> Rectangle:
    """Return the smallest upright rectangle of a picture that `turn` reads for a result at origin (0, 0).

    Args:
        size: height and width of the result in pixels.
        degrees, pivot: as for `turn`.
    """
    angle = math.radians(degrees)
    corners = [(row - pivot[0], column - pivot[1]) for row in (0, size[0]) for column in (0, size[1])]
    rows = [pivot[0] + math.cos(angle) * row - math.sin(angle) * column for row, column in corners]
    columns = [pivot[1] + math.sin(angle) * row + math.cos(angle) * column for row, column in corners]
    return (min(rows) - CUBIC_REACH, min(columns) - CUBIC_REACH,
            max(rows) + CUBIC_REACH, max(columns) + CUBIC_REACH)


def _resample_columns(x: Tensor, start: float, stop: float, count: int) -> Tensor:
    """Resample the columns from `start` to `stop` of x [B,C,H,W] to `count` columns: [B,C,H,count]."""
    length = x.shape[-1]
    if stop - start == count and start == int(start):
        places = torch.arange(int(start), int(start) + count, device=x.device)
        return x[..., places.clamp(0, length - 1)]
    step = (stop - start) / count
    reach = CUBIC_REACH * max(step, 1.0)
    rows = x.mT.contiguous()  # so that any range of columns is one block of memory
    result = rows.new_empty(*rows.shape[:2], count, rows.shape[3])
    for first in range(0, count, BLOCK_PIXELS):
        last = min(first + BLOCK_PIXELS, count)
        centres = start + (torch.arange(first, last, dtype=torch.float64) + 0.5) * step
        taps = torch.arange(math.floor(centres[0] - reach), math.ceil(centres[-1] + reach) + 1)
        weights = _cubic((centres[:, None] - 0.5 - taps) / max(step, 1.0))
        weights /= weights.sum(1, keepdim=True)
        low, high = (int(tap.clamp(0, length - 1)) for tap in (taps[0], taps[-1]))
        folded = weights.new_zeros(last - first, high - low + 1)
        folded.index_add_(1, taps.clamp(0, length - 1) - low, weights)
        result[:, :, first:last] = folded.to(x) @ rows[:, :, low:high + 1]
    return result.mT


def _cubic(distance: Tensor) -> Tensor:
    """Evaluate Keys' cubic kernel with a = -1/2 at distances in pixels."""
    d = distance.abs()
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, 0.0))


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; the picture is mirrored at its border.

    A wide blur is computed on a reduced picture, so that time does not grow with `sigma`;
    `kornia.filters.gaussian_blur2d` takes 61 times as long at 40 pixels.

    Args:
        image: float [B,H,W,C].
        sigma: standard deviation in pixels; 0 or less returns the image.

    Returns:
        float [B,H,W,C] in the range of the input.
    """
    if sigma <= 0:
        return image
    small, sigma = shrink_for_blur(image, sigma)
    reach = math.ceil(3.5 * sigma)
    distance = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
    rows, columns = (mirror_indices(-reach, side + 2 * reach, side, image.device)
                     for side in small.shape[1:3])
    x = convolve(small.movedim(-1, 1)[:, :, rows][..., columns], kernel / kernel.sum())
    return resample(x, tuple(image.shape[1:3])).movedim(1, -1)


def shrink_for_blur(image: Tensor, sigma: float) -> tuple[Tensor, float]:
    """Reduce an image as far as the blur that follows allows.

    Args:
        image: float [B,H,W,C].
        sigma: standard deviation of the blur that follows, in pixels of the image.

    Returns:
        The reduced image and the sigma that remains to be applied to it. Reducing and enlarging
        again add a variance of factor² / 6 each, which is subtracted.
    """
    factor = int(sigma // LARGEST_FULL_SIGMA)
    if factor <= 1:
        return image, sigma
    size = tuple(max(1, round(side / factor)) for side in image.shape[1:3])
    return resample(image.movedim(-1, 1), size).movedim(1, -1), math.sqrt(sigma**2 - factor**2 / 3) / factor


def mirror_indices(start: int, count: int, length: int, device: torch.device) -> Tensor:
    """Return the indices of positions start .. start + count - 1 in a row of `length` pixels that is mirrored
    at both ends, repeatedly: int64 [count].
    """
    places = torch.arange(start, start + count, device=device) % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)
