"""One subject out of several: the regions of a mask under a point or within an area, with their soft fringe."""

from __future__ import annotations

import numpy as np
import torch

from ..imaging.boxes import PRESENT
from .common import in_full_precision
from .components import Runs, find_runs, sums
from .regions import only, per_frame


@in_full_precision
def region_at(mask: torch.Tensor, x: int, y: int) -> torch.Tensor:
    """The region of each frame of mask [B,H,W] on which the pixel (x, y) lies; nothing where it lies on none."""

    def pick(alpha: np.ndarray) -> np.ndarray:
        runs = _regions(alpha)
        at = np.searchsorted(runs.start, y * (alpha.shape[1] + 1) + x, side="right") - 1
        kept = np.zeros(runs.count, bool)
        if at >= 0 and y * (alpha.shape[1] + 1) + x < runs.stop[at]:
            kept[runs.label[at]] = True
        return only(alpha, runs, kept)

    return per_frame(pick, mask)


@in_full_precision
def regions_within(mask: torch.Tensor, area: torch.Tensor) -> torch.Tensor:
    """The regions of mask [B,H,W] of which at least half lies within area [H,W], 0..1; where there are none, the one
    of which most does."""
    inside = area.cpu().numpy()

    def pick(alpha: np.ndarray) -> np.ndarray:
        runs = _regions(alpha)
        if runs.count == 0:
            return np.zeros_like(alpha)
        whole, part = sums(alpha, runs), sums(alpha * inside, runs)
        kept = part >= 0.5 * whole
        if not kept.any():
            kept[np.argmax(part)] = part.max() > 0
        return only(alpha, runs, kept)

    return per_frame(pick, mask)


def _regions(alpha: np.ndarray) -> Runs:
    return find_runs(alpha >= PRESENT, diagonal=True)
