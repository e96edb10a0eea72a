"""Optical flow between two pictures: block matching from coarse to fine, then least squares for the fraction
of a pixel (Lucas and Kanade, IJCAI 1981).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.packages import require

COARSEST_SIDE = 24   # pixels: shorter side of the coarsest level is at least this and less than twice as much
COARSEST_REACH = 6   # pixels searched in every direction on the coarsest level
REACH = 1            # pixels searched on every other level around the coarser level's result
WINDOW = 5           # pixels: side of the compared blocks
DISPLACEMENT_COST = 2e-3    # of luma difference, per pixel of displacement within a level
REFINEMENTS = 2      # least-squares steps on each level
FLAT_SLOPE = 1e-4    # added to the squared luma slopes: keeps motion in flat blocks near 0


def estimate_flow(here: Tensor, there: Tensor) -> Tensor:
    """Estimate the motion of every pixel between two pictures.

    Args:
        here, there: luma float [B,1,H,W] in 0..1.

    Returns:
        Motion [B,2,H,W] as (x, y) in pixels: what is at p in `here` is at p + motion in `there`.

    Raises:
        PackageError: kornia is missing.
    """
    levels = [(here, there)]
    while min(levels[-1][0].shape[2:]) >= 2 * COARSEST_SIDE:
        levels.append(tuple(F.avg_pool2d(picture, 2, ceil_mode=True) for picture in levels[-1]))
    motion, reach = here.new_zeros(len(here), 2, *levels[-1][0].shape[2:]), COARSEST_REACH
    for here, there in reversed(levels):
        motion = resize_flow(motion, here.shape[2:])
        motion = _filter_median(motion + _match_blocks(here, warp(there, motion), reach))
        for _ in range(REFINEMENTS):
            # Smoothed each time, so that the next refinement compares blocks that move together.
            motion = box_mean(motion + _refine(here, warp(there, motion)), WINDOW)
        reach = REACH
    return _filter_median(motion)


def warp(picture: Tensor, motion: Tensor) -> Tensor:
    """Sample a picture at p + motion for every pixel p, bilinearly; border pixels are repeated outside.

    Args:
        picture: float [B,C,H,W].
        motion: float [B,2,H,W] as (x, y) in pixels.

    Returns:
        float [B,C,H,W].

    Raises:
        PackageError: kornia is missing.
    """
    transform = require("kornia.geometry.transform", "smoothing over time")
    height, width = picture.shape[2:]
    x = torch.arange(width, device=motion.device) + motion[:, 0]
    y = torch.arange(height, device=motion.device)[:, None] + motion[:, 1]
    return transform.remap(picture, x, y, padding_mode="border", align_corners=True)


def resize_flow(motion: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize motion [B,2,h,w] for the same pictures at another size (H,W): [B,2,H,W], in the new pixels."""
    scale = motion.new_tensor([size[1] / motion.shape[3], size[0] / motion.shape[2]]).view(1, 2, 1, 1)
    return F.interpolate(motion, size, mode="bilinear", align_corners=False) * scale


def _match_blocks(here: Tensor, there: Tensor, reach: int) -> Tensor:
    """Match blocks: for each pixel the displacement in whole pixels, at most `reach` in each direction, at
    which the blocks around it differ least. Lumas [B,1,H,W] -> (x, y) [B,2,H,W].
    """
    height, width = here.shape[2:]
    padded = F.pad(there, (reach,) * 4, mode="replicate")
    least, step = torch.full_like(here, torch.inf), here.new_zeros(len(here), 2, height, width)
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            moved = padded[:, :, reach + y:reach + y + height, reach + x:reach + x + width]
            cost = box_mean((moved - here).abs(), WINDOW) + DISPLACEMENT_COST * math.hypot(x, y)
            step = torch.where(cost < least, step.new_tensor([x, y]).view(1, 2, 1, 1), step)
            least = torch.minimum(cost, least)
    return step


def _refine(here: Tensor, there: Tensor) -> Tensor:
    """Take one least-squares step: for each pixel the displacement, at most one pixel in each direction, that
    best explains the difference of the blocks around it. Lumas [B,1,H,W] -> (x, y) [B,2,H,W].
    """
    padded = F.pad(there, (1, 1, 1, 1), mode="replicate")
    x = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    y = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    difference = here - there
    products = torch.cat([x * x, x * y, y * y, x * difference, y * difference], dim=1)
    xx, xy, yy, xd, yd = box_mean(products, WINDOW).split(1, dim=1)
    xx, yy = xx + FLAT_SLOPE, yy + FLAT_SLOPE
    determinant = xx * yy - xy * xy
    return torch.cat([yy * xd - xy * yd, xx * yd - xy * xd], dim=1).div(determinant).clamp(-1, 1)


def box_mean(x: Tensor, side: int) -> Tensor:
    """Average x [B,C,H,W] over the square of an odd `side` around each pixel; repeats border pixels outside.

    Written out because matching calls it 200 times per frame: with `kornia.filters.box_blur` or
    `F.avg_pool2d` the flow of a frame of 384×216 takes 2.4 or 2.0 times as long (one core).
    """
    height, width = x.shape[2:]
    x = F.pad(x, (side // 2,) * 4, mode="replicate")
    rows = sum(x[:, :, i:i + height] for i in range(side))
    return sum(rows[..., i:i + width] for i in range(side)) / side**2


def _filter_median(motion: Tensor) -> Tensor:
    """Remove isolated wrong matches: the median of 3×3 neighbours of motion [B,2,H,W], x and y separately."""
    filters = require("kornia.filters", "smoothing over time")
    padded = F.pad(motion, (1, 1, 1, 1), mode="replicate")
    return filters.median_blur(padded, 3)[:, :, 1:-1, 1:-1]
