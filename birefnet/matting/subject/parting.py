"""Find a nearby frame in which the chosen subject is apart from others.

Two subjects that touch in the frame of the prompt are easily mistaken for one. In a nearby frame in which
they are apart, the prompt's points, tracked along the optical flow, tell which one is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ...files.packages import require
from ...imaging.flow import resize_flow, warp
from ...imaging.resize import resample
from ...masks.regions import label_regions
from ..temporal import CUT_TRUST, estimate_motion, small_luma
from .looks import SOLID_ALPHA, AlphaOf, at_point
from .select import REGION_LEVEL

TASK = "choosing one of several subjects"  # named where SciPy is missing
PARTING_REACH = 48    # frames to search in each direction
STRIDE = 4            # every how many frames a matte is computed
SEEN_SIDE = 640       # pixels: longer side of the pictures that are matted
REGION_SIDE = 320     # pixels: longer side at which regions and points are tracked
POINT_REACH = 3.0     # pixels at REGION_SIDE: radius of the disc that is tracked for a point
LEAST_SEEN = 0.6      # of that disc's area: with less left, the point is being covered
POINT_TRUST = 0.25    # of the flow in the disc: with less in two frames running, the point is lost
OTHER_SHARE = 0.15    # of the chosen matte: with this much in other regions, it was more than one subject
OWN_SHARE = 0.1       # of the chosen matte: with less in the regions under the points, these are no subject
GAP_SHARE = 0.02      # of the longer side: least distance between the regions

Point = tuple[int, int]
Parting = tuple[int, Callable[[Tensor], Tensor]]  # frames further, and a function: full picture → its matte


def reduce_picture(picture: Tensor) -> Tensor:
    """Reduce a picture [1,H,W,C] for `find_parting` to at most SEEN_SIDE pixels a side."""
    scale = min(1.0, SEEN_SIDE / max(picture.shape[1:3]))
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1:3])
    return resample(picture.permute(0, 3, 1, 2).float(), size).permute(0, 2, 3, 1).clamp(0, 1)


def find_parting(
    alpha_of: AlphaOf, points: Sequence[Point], pictures: Iterable[Tensor], alpha: Tensor
) -> Parting | None:
    """Find the first frame in which the subject under the points is apart from the rest of the chosen matte.

    Args:
        alpha_of: as for `select`.
        points: on the subject, pixels (x, y) of `alpha`.
        pictures: consecutive frames [1,h,w,C] in either direction, beginning with the one that the points are
            in; see `reduce_picture`.
        alpha: [1,H,W], the matte chosen in that frame.

    Returns:
        The number of frames further, and a function that mattes the subject in that frame at the size of
        `alpha`. None if the matte stays in one piece until the frames end, a point is lost, or the clip cuts.
        A gap must last: STRIDE frames later it is at least as wide, or the frames have ended.

    Raises:
        PackageError: SciPy or kornia is missing.
    """
    height, width = alpha.shape[1:]
    scale = min(1.0, REGION_SIDE / max(height, width))
    size = tuple(max(1, round(side * scale)) for side in (height, width))
    own = resample(alpha[:, None].float(), size).clamp(0, 1)
    places = torch.tensor(points, dtype=torch.float32, device=alpha.device)
    factors = torch.tensor([size[1] / width, size[0] / height], device=alpha.device)
    places, luma = (places + 0.5) * factors - 0.5, None
    gap, least, doubts = None, GAP_SHARE * max(size), torch.zeros(len(points), device=alpha.device)

    def parting(steps: int, places: Tensor) -> Parting:
        there = ((places + 0.5) / factors - 0.5).round().int().tolist()
        there = [(min(max(x, 0), width - 1), min(max(y, 0), height - 1)) for x, y in there]
        return steps, lambda full: torch.stack([at_point(alpha_of, full, x, y) for x, y in there]).amax(0)

    for steps, picture in enumerate(islice(pictures, PARTING_REACH + 1)):
        luma_before, luma = luma, small_luma(picture)
        if luma_before is None:
            continue
        motion, trust = estimate_motion(luma, luma_before)
        if trust.mean() < CUT_TRUST:
            break
        moved = warp(torch.cat([own, draw_points(places, size)], 1), resize_flow(motion, size))
        own, around = moved[:, :1], moved[:, 1:]
        mass = around.sum((0, 2, 3))
        trusted = (around * resample(trust, size)).sum((0, 2, 3)) / mass.clamp(min=1e-6)
        doubts = torch.where(trusted < POINT_TRUST, doubts + 1, 0)
        if mass.min() < LEAST_SEEN * math.pi * POINT_REACH**2 or doubts.max() > 1:
            break
        places = centroids(around)
        if steps % STRIDE:
            continue
        found = resample(alpha_of(picture)[:, None].float(), size).clamp(0, 1)
        own = own * found
        gap_before, seen = gap, (steps, places)
        gap = gap_between(found[0, 0].cpu().numpy(), own[0, 0].cpu().numpy(), places.cpu().numpy())
        if gap is not None and gap_before is not None and gap >= max(gap_before, least):
            return parting(*seen)
    return parting(*seen) if gap is not None and gap >= least else None


def draw_points(places: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw a soft disc around each of the points (x, y) [n,2]: [1,n,h,w]."""
    rows, columns = (torch.arange(side, device=places.device, dtype=torch.float32) for side in size)
    squared = (rows[None, :, None] - places[:, 1, None, None]).square() + (
        columns[None, None] - places[:, 0, None, None]).square()
    return torch.exp(-squared / POINT_REACH**2)[None]


def centroids(around: Tensor) -> Tensor:
    """The centroid (x, y) of each of the maps [1,n,h,w]: [n,2]."""
    rows, columns = (torch.arange(side, device=around.device, dtype=torch.float32)
                     for side in around.shape[2:])
    mass = around[0].sum((1, 2))
    sums = torch.stack([(around[0].sum(1) * columns).sum(1), (around[0].sum(2) * rows).sum(1)], 1)
    return sums / mass[:, None]


def gap_between(found: np.ndarray, own: np.ndarray, places: np.ndarray) -> float | None:
    """The distance between the subject's regions and the rest of the chosen matte.

    Args:
        found: [h,w], the matte of everything salient.
        own: [h,w], the part of it that was chosen.
        places: points (x, y) on the subject, [n,2].

    Returns:
        Pixels; None if a point is on no region, or nearly all or nearly nothing of `own` is in the regions
        under the points.
    """
    labels, _ = label_regions(found >= REGION_LEVEL, diagonal=True)
    columns, rows = (places.round().astype(int).clip(0, np.array(found.shape[::-1]) - 1)).T
    if found[rows, columns].min() < SOLID_ALPHA:
        return None
    here = np.isin(labels, labels[rows, columns])
    inside, total = own[here].sum(), own.sum()
    rest = (own > SOLID_ALPHA) & ~here
    if inside < OWN_SHARE * total or total - inside < OTHER_SHARE * total or not rest.any():
        return None
    ndimage = require("scipy.ndimage", TASK)
    return float(ndimage.distance_transform_edt(~here)[rest].min())
