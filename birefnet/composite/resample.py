"""Moving pictures on the pixel grid: any part of one at any size, and wide blurs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..inference import resample
from ..masks.common import convolve

Size = tuple[int, int]  # height, width
Box = tuple[float, float, float, float]  # top, left, bottom, right, in pixels

REACH = 2  # pixels of the cubic kernel to either side
BLOCK = 128  # output pixels per matrix product: each then needs but a short stretch of the input
FINEST = 4.0  # standard deviation, in pixels, from which a blur is computed on a reduced picture


def part(image: Tensor, box: Box, size: Size) -> Tensor:
    """The part `box` (top, left, bottom, right, in pixels) of image [B,H,W,C] at `size` (H,W): [B,*size,C].

    Pixel (i, j) covers [i, i+1) × [j, j+1); the box may have fractions and reach beyond the picture, where its outermost
    pixels go on (`coverage` tells where). Bicubic (Catmull-Rom; Keys 1981, a = -1/2), widened where it shrinks so that
    nothing aliases. It overshoots at hard edges: clamp the result. A box of whole pixels at its own size is copied
    exactly.
    """
    top, left, bottom, right = box
    x = image.movedim(-1, 1)
    x = _along(x, left, right, size[1])
    return _along(x.mT, top, bottom, size[0]).mT.movedim(1, -1)


def coverage(picture: Size, box: Box, size: Size) -> Tensor:
    """How much of each pixel of `part` lies in the picture, and not beyond it: [*size], exact areas."""
    sides = []
    for whole, start, stop, count in zip(picture, box[:2], box[2:], size):
        ends = (start + torch.arange(count + 1, dtype=torch.float64) * ((stop - start) / count)).clamp(0, whole)
        sides.append(ends.diff() * (count / (stop - start)))
    return (sides[0][:, None] * sides[1]).float()


def _along(x: Tensor, start: float, stop: float, count: int) -> Tensor:
    """[..., N] -> [..., count]: the stretch from `start` to `stop` of the last axis."""
    length = x.shape[-1]
    if (start, stop) == (0, length) and count == length:
        return x
    if stop - start == count and start == int(start):
        places = torch.arange(int(start), int(start) + count, device=x.device)
        return x[..., places.clamp(0, length - 1)]
    step = (stop - start) / count
    reach = REACH * max(step, 1.0)
    result = x.new_empty(*x.shape[:-1], count)
    for first in range(0, count, BLOCK):
        last = min(first + BLOCK, count)
        centres = start + (torch.arange(first, last, dtype=torch.float64) + 0.5) * step
        taps = torch.arange(math.floor(centres[0] - reach), math.ceil(centres[-1] + reach) + 1)
        weights = _cubic((taps[:, None] + 0.5 - centres) / max(step, 1.0))
        weights /= weights.sum(0)
        low, high = (int(tap.clamp(0, length - 1)) for tap in (taps[0], taps[-1]))
        folded = weights.new_zeros(high - low + 1, last - first)
        folded.index_add_(0, taps.clamp(0, length - 1) - low, weights)
        result[..., first:last] = x[..., low:high + 1] @ folded.to(x)
    return result


def _cubic(distance: Tensor) -> Tensor:
    d = distance.abs()
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, 0.0))


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of image [B,H,W,C] with a standard deviation of `sigma` pixels; the picture is mirrored at its sides.

    A wide blur is computed on a reduced picture, so that time does not grow with `sigma`. Values stay in their range.
    """
    if sigma <= 0:
        return image
    _, height, width, _ = image.shape
    x = image.movedim(-1, 1)
    factor = int(max(1, sigma // FINEST))
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    if factor > 1:
        x = resample(x, small)
        # Reducing and enlarging again blurs, too: each by a triangle of variance factor² / 6.
        sigma = math.sqrt(sigma**2 - factor**2 / 3) / factor
    reach = math.ceil(3.5 * sigma)
    distance = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
    rows, columns = (mirrored(-reach, side + 2 * reach, side, x.device) for side in x.shape[2:])
    x = convolve(x[:, :, rows][..., columns], kernel / kernel.sum())
    return (resample(x, (height, width)) if factor > 1 else x).movedim(1, -1)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", antialias=True)


def mirrored(start: int, count: int, length: int, device: torch.device) -> Tensor:
    """Which pixels of a row of `length` the places start .. start + count - 1 show, if it is mirrored at its ends as
    often as it takes."""
    places = torch.arange(start, start + count, device=device) % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)
