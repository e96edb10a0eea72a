"""Boxes of whole pixels around what is present in a mask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

PRESENT = 0.1  # alpha from which a pixel belongs to a region


class Box(NamedTuple):
    """Whole pixels from (top, left) up to, but without, (bottom, right)."""

    top: int
    left: int
    bottom: int
    right: int


def bounds(mask: Tensor, least: float = PRESENT) -> Box | None:
    """The smallest box around all pixels of mask [H,W] of at least `least`; None where there are none."""
    present = mask >= least
    rows, columns = (present.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None


def around(boxes: Iterable[Box | None]) -> Box | None:
    """The smallest box around all boxes; None where there are none."""
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    tops, lefts, bottoms, rights = zip(*known)
    return Box(min(tops), min(lefts), max(bottoms), max(rights))
