"""Operators on whole regions of a mask: fill holes, drop specks, keep the largest.

A region is what hangs together at an alpha of at least `PRESENT`: low, so that hair joined to its subject by a faint
stretch stays with it. Subject hangs together across corners too (8-connectivity), holes only across sides. The area
of a region is the sum of its alpha, in pixels, so that blurring a spot hardly changes how large it counts. The
fainter fringe around a region goes with it; where the fringes of two regions meet, each has the part nearer to it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..imaging.boxes import PRESENT
from .common import in_full_precision
from .components import Runs, find_runs, paint, sums

VISIBLE = 0.5 / 255  # alpha below this rounds to nothing in an 8-bit mask: no fringe is followed through it
FRINGE = 32  # pixels; farther from a speck or a hole, faint alpha is haze of its own and stays

LASTING, LEAVING = np.uint8(1), np.uint8(2)  # whose a pixel is: a region's that stays, or one's that goes


@in_full_precision
def keep_largest(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Keep the `count` largest regions of each frame of mask [B,H,W] with their soft fringe; the rest becomes 0.

    Of equally large regions the one met first, reading from the top, wins. 0 keeps everything; a frame too faint to
    have a region is left as it is.
    """
    if count <= 0:
        return mask

    def keep(alpha: np.ndarray) -> np.ndarray:
        runs = find_runs(alpha >= PRESENT, diagonal=True)
        if runs.count == 0:
            return alpha
        kept = np.zeros(runs.count, bool)
        kept[np.argsort(-sums(alpha, runs), kind="stable")[:count]] = True
        return only(alpha, runs, kept)

    return per_frame(keep, mask)


def only(alpha: np.ndarray, runs: Runs, kept: np.ndarray) -> np.ndarray:
    """alpha [H,W] of the regions that `kept`, bool [count], marks, with their soft fringe; 0 elsewhere."""
    return np.where(_owners(alpha, runs, kept, reach=sum(alpha.shape)) == LASTING, alpha, 0)


@in_full_precision
def drop_specks(mask: torch.Tensor, area: float) -> torch.Tensor:
    """Set every region of mask [B,H,W] smaller than `area` pixels to 0, with its soft fringe. 0 drops nothing."""
    if area <= 0:
        return mask

    def drop(alpha: np.ndarray) -> np.ndarray:
        runs = find_runs(alpha >= PRESENT, diagonal=True)
        lasting = sums(alpha, runs) >= area
        if lasting.all():
            return alpha
        return np.where(_owners(alpha, runs, lasting, FRINGE) == LEAVING, 0, alpha)

    return per_frame(drop, mask)


@in_full_precision
def fill_holes(mask: torch.Tensor, area: float) -> torch.Tensor:
    """Set every hole of mask [B,H,W] of at most `area` pixels to 1, with its soft fringe. 0 fills nothing.

    A hole is a region of what is missing, 1 - alpha, that does not touch the frame of the picture.
    """
    if area <= 0:
        return mask

    def fill(alpha: np.ndarray) -> np.ndarray:
        missing = 1 - alpha
        runs = find_runs(missing >= PRESENT, diagonal=False)
        lasting = sums(missing, runs) > area
        lasting[_touching_frame(runs, alpha.shape)] = True
        if lasting.all():
            return alpha
        return np.where(_owners(missing, runs, lasting, FRINGE) == LEAVING, 1, alpha)

    return per_frame(fill, mask)


def per_frame(operator: Callable[[np.ndarray], np.ndarray], mask: torch.Tensor) -> torch.Tensor:
    if mask.numel() == 0:
        return mask
    return torch.stack([torch.from_numpy(operator(frame.cpu().numpy())).to(mask) for frame in mask])


def _touching_frame(runs: Runs, shape: tuple[int, int]) -> np.ndarray:
    """The labels of the components with a pixel in the first or last row or column."""
    height, width = shape
    pitch = width + 1
    row = runs.start // pitch
    at_frame = (row == 0) | (row == height - 1) | (runs.start % pitch == 0) | (runs.stop % pitch == width)
    return runs.label[at_frame]


def _owners(alpha: np.ndarray, runs: Runs, lasting: np.ndarray, reach: int) -> np.ndarray:
    """LASTING or LEAVING for each pixel of alpha [H,W] in a region or at most `reach` steps away in its fringe, else
    another value; lasting: bool [count].

    All fringes are walked outwards at once, a pixel to any side or corner per step, through what is visible but too
    faint for a region; a pixel that two regions reach with the same step stays.
    """
    free, closed = np.uint8(0), np.uint8(3)
    height, width = alpha.shape
    framed = np.full((height + 2, width + 2), closed)
    owner = framed[1:-1, 1:-1]
    owner[...] = paint(np.where(lasting, LASTING, LEAVING)[runs.label], runs, alpha.shape)
    owner[(owner == free) & (alpha < VISIBLE)] = closed

    flat, pitch = framed.ravel(), width + 2
    neighbours = (-pitch - 1, -pitch, -pitch + 1, -1, 1, pitch - 1, pitch, pitch + 1)
    border = _beside(framed == free)
    fronts = {mark: np.flatnonzero(border & (framed == mark)) for mark in (LASTING, LEAVING)}  # in the order of claim
    for _ in range(reach):
        if not any(map(len, fronts.values())):
            break
        for mark, front in fronts.items():
            claimed = []
            for offset in neighbours:
                step = front + offset
                step = step[flat[step] == free]
                flat[step] = mark
                claimed.append(step)
            fronts[mark] = np.concatenate(claimed)
    return owner


def _beside(picture: np.ndarray) -> np.ndarray:
    """The set pixels of a bool picture [H,W] and all that touch them by a side or a corner."""
    wider = picture.copy()
    wider[1:] |= picture[:-1]
    wider[:-1] |= picture[1:]
    widest = wider.copy()
    widest[:, 1:] |= wider[:, :-1]
    widest[:, :-1] |= wider[:, 1:]
    return widest
