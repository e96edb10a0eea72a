"""Bounding boxes of masks, in whole pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

REGION_ALPHA = 0.1  # a pixel with at least this alpha belongs to a region


class Box(NamedTuple):
    """A box of whole pixels: rows top to bottom - 1, columns left to right - 1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """The number of its rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """The number of its columns."""
        return self.right - self.left

    @property
    def longer_side(self) -> int:
        """Its height or width in pixels, whichever is larger."""
        return max(self.height, self.width)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns of a picture that it holds; it must not begin outside the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def contains(self, other: Box) -> bool:
        """Whether all pixels of another box are in this one."""
        return (self.top <= other.top and self.left <= other.left
                and self.bottom >= other.bottom and self.right >= other.right)

    def intersection(self, other: Box) -> Box:
        """The box of the pixels that are in both, which must overlap."""
        return Box(max(self.top, other.top), max(self.left, other.left), min(self.bottom, other.bottom),
                   min(self.right, other.right))

    def holds(self, x: int, y: int) -> bool:
        """Whether the pixel (x, y) is in this box."""
        return self.left <= x < self.right and self.top <= y < self.bottom


def bounding_box(mask: Tensor, least: float = REGION_ALPHA) -> Box | None:
    """Find the smallest box around all pixels of a mask that reach a level.

    Args:
        mask: float [H,W] in 0..1.
        least: the level in 0..1.

    Returns:
        The box, or None where no pixel reaches `least`.
    """
    present = mask >= least
    rows, columns = (present.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None


def enclosing_box(boxes: Iterable[Box | None]) -> Box | None:
    """Find the smallest box around several boxes; None entries are skipped; None if there is no other."""
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    tops, lefts, bottoms, rights = zip(*known)
    return Box(min(tops), min(lefts), max(bottoms), max(rights))
