"""Dense motion between two pictures, in plain PyTorch: block matching from coarse to fine finds the way, least squares
(Lucas and Kanade, IJCAI 1981) the fraction of a pixel."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.packages import require

COARSEST = 24    # pixels of the shorter side at which the search begins
FIRST_REACH = 6  # pixels searched to every side there
REACH = 1        # pixels searched around what the coarser level found
WINDOW = 5       # pixels of the side of the blocks compared
STAYING = 2e-3   # luma difference that a pixel of further displacement must be worth
REFINEMENTS = 2  # of the fraction, at each level
FLAT = 1e-4      # squared luma slope under which nothing tells where a block has gone


def flow(here: Tensor, there: Tensor) -> Tensor:
    """Motion [B,2,H,W] as (x, y) in pixels: what is at p in `here` is at p + motion in `there`, both luma [B,1,H,W]."""
    levels = [(here, there)]
    while min(levels[-1][0].shape[2:]) >= 2 * COARSEST:
        levels.append(tuple(F.avg_pool2d(picture, 2, ceil_mode=True) for picture in levels[-1]))
    motion, reach = here.new_zeros(len(here), 2, *levels[-1][0].shape[2:]), FIRST_REACH
    for here, there in reversed(levels):
        motion = resized(motion, here.shape[2:])
        motion = _median(motion + _step(here, warp(there, motion), reach))
        for _ in range(REFINEMENTS):
            # Smoothed each time: a block has moved as one, or the next round compares a patchwork.
            motion = box(motion + _fraction(here, warp(there, motion)), WINDOW)
        reach = REACH
    return _median(motion)


def warp(picture: Tensor, motion: Tensor) -> Tensor:
    """[B,C,H,W] fetched from p + motion for every p; beyond the picture lies a copy of its edge."""
    transform = require("kornia.geometry.transform", "smoothing over time")
    height, width = picture.shape[2:]
    x = torch.arange(width, device=motion.device) + motion[:, 0]
    y = torch.arange(height, device=motion.device)[:, None] + motion[:, 1]
    return transform.remap(picture, x, y, padding_mode="border", align_corners=True)


def resized(motion: Tensor, size: tuple[int, int]) -> Tensor:
    """A motion for the same pictures at another size (H,W)."""
    scale = motion.new_tensor([size[1] / motion.shape[3], size[0] / motion.shape[2]]).view(1, 2, 1, 1)
    return F.interpolate(motion, size, mode="bilinear", align_corners=False) * scale


def _step(here: Tensor, there: Tensor, reach: int) -> Tensor:
    """The displacement, in whole pixels within `reach`, under which the blocks around each pixel agree best."""
    height, width = here.shape[2:]
    padded = F.pad(there, (reach,) * 4, mode="replicate")
    least, step = torch.full_like(here, torch.inf), here.new_zeros(len(here), 2, height, width)
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            moved = padded[:, :, reach + y:reach + y + height, reach + x:reach + x + width]
            cost = box((moved - here).abs(), WINDOW) + STAYING * math.hypot(x, y)
            step = torch.where(cost < least, step.new_tensor([x, y]).view(1, 2, 1, 1), step)
            least = torch.minimum(cost, least)
    return step


def _fraction(here: Tensor, there: Tensor) -> Tensor:
    """The displacement, at most a pixel, that explains best what differs within each block."""
    padded = F.pad(there, (1, 1, 1, 1), mode="replicate")
    x = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    y = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    difference = here - there
    xx, xy, yy, xd, yd = box(torch.cat([x * x, x * y, y * y, x * difference, y * difference], 1), WINDOW).split(1, 1)
    xx, yy = xx + FLAT, yy + FLAT
    determinant = xx * yy - xy * xy
    return torch.cat([yy * xd - xy * yd, xx * yd - xy * xd], dim=1).div(determinant).clamp(-1, 1)


def box(x: Tensor, side: int) -> Tensor:
    """The mean of the square of that odd side about every pixel; beyond the picture lies a copy of its edge.

    By hand, for it is called 200 times a frame: with `kornia.filters.box_blur` or `F.avg_pool2d` the flow of a frame takes
    2.4 and 2.0 times as long (one core, 384×216).
    """
    height, width = x.shape[2:]
    x = F.pad(x, (side // 2,) * 4, mode="replicate")
    rows = sum(x[:, :, i:i + height] for i in range(side))
    return sum(rows[..., i:i + width] for i in range(side)) / side**2


def _median(motion: Tensor) -> Tensor:
    """The median of 3×3 neighbours, x and y each by itself: no lone pixel goes its own way."""
    filters = require("kornia.filters", "smoothing over time")
    padded = F.pad(motion, (1, 1, 1, 1), mode="replicate")
    return filters.median_blur(padded, 3)[:, :, 1:-1, 1:-1]
