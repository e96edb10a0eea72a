"""Choose one subject of several: the regions of a mask under a point or within an area, with their fringe."""

from __future__ import annotations

import numpy as np
import torch

from ..imaging.boxes import REGION_ALPHA
from .common import in_full_precision
from .regions import keep_regions, label_regions, map_frames, region_areas


@in_full_precision
def region_at(mask: torch.Tensor, x: int, y: int) -> torch.Tensor:
    """Keep the region under one pixel.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        x, y: column and row of the pixel, from 0; it must lie in the mask.

    Returns:
        The mask of the same shape and dtype; all 0 in frames whose pixel (x, y) lies in no region.

    Raises:
        ValueError: the mask is not float [B,H,W].
        PackageError: SciPy is missing.
    """
    def pick(alpha: np.ndarray) -> np.ndarray:
        labels, count = label_regions(alpha >= REGION_ALPHA, diagonal=True)
        return keep_regions(alpha, labels, np.arange(1, count + 1) == labels[y, x])

    return map_frames(pick, mask)


@in_full_precision
def regions_within(mask: torch.Tensor, area: torch.Tensor) -> torch.Tensor:
    """Keep the regions that lie in an area by at least half; without any, the one with most alpha in it.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        area: float [H,W] in 0..1, how much each pixel belongs to the area.

    Returns:
        The mask of the same shape and dtype; all 0 where no region touches the area.

    Raises:
        ValueError: the mask is not float [B,H,W].
        PackageError: SciPy is missing.
    """
    inside = area.cpu().numpy()

    def pick(alpha: np.ndarray) -> np.ndarray:
        labels, count = label_regions(alpha >= REGION_ALPHA, diagonal=True)
        if count == 0:
            return np.zeros_like(alpha)
        areas, inside_areas = region_areas(alpha, labels, count), region_areas(alpha * inside, labels, count)
        kept = inside_areas >= 0.5 * areas
        if not kept.any():
            kept[np.argmax(inside_areas)] = inside_areas.max() > 0
        return keep_regions(alpha, labels, kept)

    return map_frames(pick, mask)
