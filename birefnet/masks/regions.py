"""Operators on whole regions of a mask: keep the largest, drop specks, fill holes.

A region is a connected component of the pixels whose alpha is at least `REGION_ALPHA`. That is low, so that
hair joined to its subject by a faint stretch stays with it. Regions of the subject are 8-connected, holes are
4-connected. The area of a region is the sum of its alpha in pixels, so that blurring it hardly changes how
large it counts. The fringe of a region is the fainter alpha around it, down to `HALF_LEVEL`; where the
fringes of two regions meet, each pixel belongs to the nearer one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..files.packages import require
from ..imaging.boxes import REGION_ALPHA
from ..imaging.levels import HALF_LEVEL
from .common import in_full_precision

SPECK_FRINGE = 32  # pixels: fainter alpha farther away from a speck or a hole is not part of it

STAYS, GOES = np.uint8(1), np.uint8(2)  # decisions for a pixel


@in_full_precision
def keep_largest(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Keep the `count` largest regions of each frame with their soft fringe and set everything else to 0.

    Of equally large regions the first one in reading order is kept.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        count: number of regions, 0 keeps all.

    Returns:
        The mask of the same shape and dtype; a frame in which no pixel reaches `REGION_ALPHA` is unchanged.

    Raises:
        ValueError: the mask is not float [B,H,W].
        PackageError: SciPy is missing.
    """
    if count <= 0:
        return mask

    def keep(alpha: np.ndarray) -> np.ndarray:
        labels, found = label_regions(alpha >= REGION_ALPHA, diagonal=True)
        if found == 0:
            return alpha
        kept = np.zeros(found, bool)
        kept[np.argsort(-region_areas(alpha, labels, found), kind="stable")[:count]] = True
        return keep_regions(alpha, labels, kept)

    return map_frames(keep, mask)


@in_full_precision
def drop_specks(mask: torch.Tensor, area: float) -> torch.Tensor:
    """Set every region smaller than `area` pixels to 0, with its soft fringe.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        area: pixels, 0 drops nothing.

    Returns:
        The mask of the same shape and dtype.

    Raises:
        ValueError: the mask is not float [B,H,W].
        PackageError: SciPy is missing.
    """
    if area <= 0:
        return mask

    def drop(alpha: np.ndarray) -> np.ndarray:
        labels, count = label_regions(alpha >= REGION_ALPHA, diagonal=True)
        stays = region_areas(alpha, labels, count) >= area
        if stays.all():
            return alpha
        return np.where(_decide(alpha, labels, stays, SPECK_FRINGE) == GOES, 0, alpha)

    return map_frames(drop, mask)


@in_full_precision
def fill_holes(mask: torch.Tensor, area: float) -> torch.Tensor:
    """Set every hole of at most `area` pixels to 1, with its soft fringe.

    A hole is a region of 1 - alpha that does not touch the border of the picture.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        area: pixels, 0 fills nothing.

    Returns:
        The mask of the same shape and dtype.

    Raises:
        ValueError: the mask is not float [B,H,W].
        PackageError: SciPy is missing.
    """
    if area <= 0:
        return mask

    def fill(alpha: np.ndarray) -> np.ndarray:
        missing = 1 - alpha
        labels, count = label_regions(missing >= REGION_ALPHA, diagonal=False)
        stays = region_areas(missing, labels, count) > area
        border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        stays[border[border > 0] - 1] = True
        if stays.all():
            return alpha
        return np.where(_decide(missing, labels, stays, SPECK_FRINGE) == GOES, 1, alpha)

    return map_frames(fill, mask)


def label_regions(present: np.ndarray, diagonal: bool) -> tuple[np.ndarray, int]:
    """Number the connected components of a bool picture [H,W] in reading order.

    Args:
        present: bool [H,W].
        diagonal: pixels that touch by a corner are connected (8-connectivity), not only by a side
            (4-connectivity).

    Returns:
        Labels [H,W], 0 where nothing is present and else 1..count, and the count. By SciPy, which comes with
        ComfyUI; `kornia.contrib.connected_components` takes 600 times as long.
    """
    ndimage = require("scipy.ndimage", "measuring the regions of a mask")
    return ndimage.label(present, np.ones((3, 3)) if diagonal else None)


def region_areas(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Sum values [H,W] over each of `count` regions: float64 [count]."""
    return np.bincount(labels.ravel(), values.ravel(), count + 1)[1:]


def keep_regions(alpha: np.ndarray, labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return alpha [H,W] of the regions marked in `kept`, bool [count], with their fringe; 0 elsewhere."""
    return np.where(_decide(alpha, labels, kept, reach=sum(alpha.shape)) == STAYS, alpha, 0)


def map_frames(operator: Callable[[np.ndarray], np.ndarray], mask: torch.Tensor) -> torch.Tensor:
    """Apply an operator on numpy frames [H,W] to each frame of mask [B,H,W]."""
    if mask.numel() == 0:
        return mask
    return torch.stack([torch.from_numpy(operator(frame.cpu().numpy())).to(mask) for frame in mask])


def _decide(alpha: np.ndarray, labels: np.ndarray, stays: np.ndarray, reach: int) -> np.ndarray:
    """Decide for each pixel of a region or its fringe whether it stays.

    All fringes grow outwards at once, one pixel to any side or corner per step, through what is visible but
    too faint for a region. A pixel that two regions reach in the same step stays.

    Args:
        alpha: float32 [H,W] in 0..1.
        labels: as from `label_regions`.
        stays: bool [count], which regions stay.
        reach: largest width of a fringe, in pixels.

    Returns:
        uint8 [H,W]: STAYS or GOES in a region or its fringe, another value elsewhere.
    """
    free, closed = np.uint8(0), np.uint8(3)
    height, width = alpha.shape
    framed = np.full((height + 2, width + 2), closed)
    decision = framed[1:-1, 1:-1]
    decision[...] = np.concatenate([[free], np.where(stays, STAYS, GOES)])[labels]
    decision[(decision == free) & (alpha < HALF_LEVEL)] = closed

    flat, pitch = framed.ravel(), width + 2
    neighbours = (-pitch - 1, -pitch, -pitch + 1, -1, 1, pitch - 1, pitch, pitch + 1)
    border = _dilate_by_one(framed == free)
    fronts = {mark: np.flatnonzero(border & (framed == mark)) for mark in (STAYS, GOES)}  # STAYS is first
    for _ in range(reach):
        if not any(map(len, fronts.values())):
            break
        for mark, front in fronts.items():
            reached = []
            for offset in neighbours:
                step = front + offset
                step = step[flat[step] == free]
                flat[step] = mark
                reached.append(step)
            fronts[mark] = np.concatenate(reached)
    return decision


def _dilate_by_one(picture: np.ndarray) -> np.ndarray:
    """Dilate a bool picture [H,W] by a square of 3×3; SciPy's binary_dilation takes 30 times as long."""
    rows = picture.copy()
    rows[1:] |= picture[:-1]
    rows[:-1] |= picture[1:]
    square = rows.copy()
    square[:, 1:] |= rows[:, :-1]
    square[:, :-1] |= rows[:, 1:]
    return square
