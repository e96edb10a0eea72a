"""Moving pictures on the pixel grid: any part of one at any size, and wide blurs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .resize import convolve, resample

Size = tuple[int, int]  # height, width
Box = tuple[float, float, float, float]  # top, left, bottom, right, in pixels

REACH = 2  # pixels of the cubic kernel to either side
BLOCK = 64  # output pixels per matrix product: each then needs but a short stretch of the input
FINEST = 4.0  # standard deviation, in pixels, from which a blur is computed on a reduced picture


def planar(image: Tensor) -> Tensor:
    """The same image [B,H,W,C], each channel in one piece of memory: arithmetic with a mask is several times faster."""
    return image.movedim(-1, 1).contiguous().movedim(1, -1)


def part(image: Tensor, box: Box, size: Size) -> Tensor:
    """The part `box` (top, left, bottom, right, in pixels) of image [B,H,W,C] at `size` (H,W): [B,*size,C].

    Pixel (i, j) covers [i, i+1) × [j, j+1); the box may have fractions and reach beyond the picture, where its
    outermost pixels go on (`coverage` tells where). Bicubic (Catmull-Rom; Keys 1981, a = -1/2), widened where it
    shrinks so that nothing aliases. It overshoots at hard edges: clamp the result. A box of whole pixels at its own
    size is copied exactly.
    """
    top, left, bottom, right = box
    x = image.movedim(-1, 1)
    if (left, right) != (0, x.shape[3]) or size[1] != x.shape[3]:
        x = _columns(x, left, right, size[1])
    if (top, bottom) != (0, x.shape[2]) or size[0] != x.shape[2]:
        x = _columns(x.mT, top, bottom, size[0]).mT
    return x.movedim(1, -1)


def coverage(picture: Size, box: Box, size: Size) -> Tensor:
    """How much of each pixel of `part` lies in the picture, and not beyond it: [*size], exact areas."""
    sides = []
    for whole, start, stop, count in zip(picture, box[:2], box[2:], size):
        ends = (start + torch.arange(count + 1, dtype=torch.float64) * ((stop - start) / count)).clamp(0, whole)
        sides.append(ends.diff() * (count / (stop - start)))
    return (sides[0][:, None] * sides[1]).float()


def _columns(x: Tensor, start: float, stop: float, count: int) -> Tensor:
    """[B,C,H,W] -> [B,C,H,count]: the stretch from `start` to `stop` of the columns."""
    length = x.shape[-1]
    if stop - start == count and start == int(start):
        places = torch.arange(int(start), int(start) + count, device=x.device)
        return x[..., places.clamp(0, length - 1)]
    step = (stop - start) / count
    reach = REACH * max(step, 1.0)
    rows = x.mT.contiguous()  # columns as rows: any stretch of them is one block of memory
    result = rows.new_empty(*rows.shape[:2], count, rows.shape[3])
    for first in range(0, count, BLOCK):
        last = min(first + BLOCK, count)
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
    d = distance.abs()
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, 0.0))


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of image [B,H,W,C], standard deviation `sigma` pixels; the picture is mirrored at its sides.

    A wide blur is computed on a reduced picture, so that time does not grow with `sigma`. Values stay in their range.
    """
    if sigma <= 0:
        return image
    small, sigma = reduced(image, sigma)
    reach = math.ceil(3.5 * sigma)
    distance = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
    rows, columns = (mirrored(-reach, side + 2 * reach, side, image.device) for side in small.shape[1:3])
    x = convolve(small.movedim(-1, 1)[:, :, rows][..., columns], kernel / kernel.sum())
    return resample(x, tuple(image.shape[1:3])).movedim(1, -1)


def reduced(image: Tensor, sigma: float) -> tuple[Tensor, float]:
    """Image [B,H,W,C] made as small as a later blur by `sigma` pixels allows; and the sigma for the small one."""
    factor = int(sigma // FINEST)
    if factor <= 1:
        return image, sigma
    size = tuple(max(1, round(side / factor)) for side in image.shape[1:3])
    # Reducing and enlarging again blur, too: each by a triangle of variance factor² / 6.
    return resample(image.movedim(-1, 1), size).movedim(1, -1), math.sqrt(sigma**2 - factor**2 / 3) / factor


def mirrored(start: int, count: int, length: int, device: torch.device) -> Tensor:
    """Which pixels of a row of `length` the places start .. start + count - 1 show, if it is mirrored at its ends as
    often as it takes."""
    places = torch.arange(start, start + count, device=device) % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)
