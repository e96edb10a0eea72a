"""Move the border between two subjects to where their colours change.

The selector divides a matte coarsely: one of its pixels is a 64th of the crop wide. Near the border that it
draws, every pixel is compared with the colours on both sides, by local models after the idea of Video SnapCut
(Bai et al., SIGGRAPH 2009); each model is a Gaussian.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...imaging.resize import over_grey, resample
from ...imaging.windows import average_windows
from .looks import SOLID_ALPHA

SIDE = 256            # pixels: longer side at which colours are compared; all other pixels are of this size
REACH = 12            # pixels by which the border may move
MODEL_REACH = 18      # pixels from a model's centre to the sides of its window
INNER = 2             # pixels: what is nearer to the border tells no colours
LEAST_PIXELS = 30.0   # of either side in a window, for a model
NOISE = 5e-4          # variance that is added to the colours'
COLOUR_WEIGHT = 0.7   # of a pixel's colour as evidence: colours repeat
LARGEST_LOGIT = 4.0   # from colours; also what the given division counts at REACH from the border
ONE_SIDED = 0.98      # balance of both sides from which no border is near
ROUNDS = 2            # the moved border gives better models


def move_borders(meant: Tensor, alpha: Tensor, picture: Tensor) -> Tensor:
    """Move the borders between a subject and others.

    Args:
        meant: [1,h,w] in 0..1, the share of each pixel's alpha that is the subject. Exactly 0 and 1 are
            decided: such pixels keep their share, and their colours are not compared with.
        alpha: [1,h,w] in 0..1, of everything salient.
        picture: float [1,h,w,C] in 0..1.

    Returns:
        `meant` with other borders; unchanged where no other subject is near.
    """
    height, width = meant.shape[1:]
    scale = SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    open_alpha = alpha * ((meant > 0) & (meant < 1))
    share, solid = (resample(x[:, None].float(), size).clamp(0, 1) for x in (meant, open_alpha))
    colours = resample(over_grey(picture).movedim(3, 1), size).clamp(0, 1).to(share.device)
    solid, near = (solid > SOLID_ALPHA).float(), torch.zeros_like(solid)
    for _ in range(ROUNDS):
        balance = 2 * window_mean(share, solid, REACH) - 1  # -1: only others around, 1: only the subject
        zone = (balance.abs() < ONE_SIDED) & (solid > 0)
        if not zone.any():
            break
        near = torch.maximum(near, zone.float())
        told = LARGEST_LOGIT * balance + compare_colours(colours, share, solid, zone)
        share = torch.where(zone, told.sigmoid(), share)
    if not near.any():
        return meant
    moved, near = (F.interpolate(x, (height, width), mode="bilinear", align_corners=False)[:, 0].to(meant)
                   for x in (share, near))
    return torch.lerp(meant, moved, near * (open_alpha > 0))


def compare_colours(colours: Tensor, share: Tensor, solid: Tensor, zone: Tensor) -> Tensor:
    """Compare the colours of pixels with those of both sides around them.

    Args:
        colours: [1,3,h,w].
        share: [1,1,h,w], of the subject.
        solid: [1,1,h,w], 1 where anything salient is.
        zone: bool [1,1,h,w], the pixels to compare.

    Returns:
        The logit [1,1,h,w] of the probability that a pixel is the subject's; 0 outside the zone, and where
        one side shows nothing nearby.
    """
    inner_parts, enough = [], zone
    for side in (share > 0.5, share <= 0.5):
        inner = 1 - F.max_pool2d(((~side) & (solid > 0)).float(), 2 * INNER + 1, 1, INNER)
        inner = inner * side * solid
        enough = enough & (window_sum(inner, MODEL_REACH) > LEAST_PIXELS)
        inner_parts.append(inner)
    result = torch.zeros_like(share)
    if enough.any():
        own, others = (measure_rarity(colours, inner, enough) for inner in inner_parts)
        result[enough] = (COLOUR_WEIGHT / 2 * (others - own)).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    return result


def measure_rarity(colours: Tensor, weight: Tensor, where: Tensor) -> Tensor:
    """-2 log p of the colours of pixels, but for a constant, where p is the Gaussian of the colours around.

    Args:
        colours: [1,3,h,w].
        weight: [1,1,h,w], of each pixel in the models.
        where: bool [1,1,h,w], n pixels.

    Returns:
        [n].
    """
    rows, columns = torch.tril_indices(3, 3)
    products = colours[:, rows] * colours[:, columns]
    moments = window_mean(torch.cat([colours, products], 1), weight, MODEL_REACH)
    mean, products = moments[0][:, where[0, 0]].T.split([3, 6], 1)
    covariance = products.new_zeros(len(products), 3, 3)  # the lower triangle: all that cholesky reads
    covariance[:, rows, columns] = products - mean[:, rows] * mean[:, columns]
    root = torch.linalg.cholesky(covariance + NOISE * torch.eye(3).to(covariance))
    away = (colours[0][:, where[0, 0]].T - mean)[..., None]
    distance = torch.linalg.solve_triangular(root, away, upper=False).square().sum((1, 2))
    return distance + 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)


def window_mean(values: Tensor, weight: Tensor, reach: int) -> Tensor:
    """The weighted mean of values [1,C,h,w] in the window around each pixel; 0 where there is no weight."""
    return window_sum(values * weight, reach) / window_sum(weight, reach).clamp(min=1e-3)


def window_sum(x: Tensor, reach: int) -> Tensor:
    """Sum x [1,C,h,w] in the window around each pixel; outside of x is nothing."""
    return average_windows(F.pad(x, [reach] * 4), reach) * (2 * reach + 1) ** 2
