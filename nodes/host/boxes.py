"""Converts what arrives on a BOUNDING_BOX socket to boxes of whole pixels. Does not import ComfyUI."""

from __future__ import annotations

import math

from ...birefnet.files.errors import one_line
from ...birefnet.imaging.boxes import Box

SIDES = ("x", "y", "width", "height")


def boxes_per_frame(bboxes: object, frames: int) -> list[list[Box]]:
    """Return the boxes of each frame.

    Args:
        bboxes: as in core's nodes: one box or a list of boxes for all frames, or a list of lists, one for
            each frame or one for all. A box is {"x", "y", "width", "height"} in pixels; fractions are
            extended to whole pixels. Boxes without width or height are skipped: Inspect Matte outputs one
            for a frame without a subject.
        frames: number of frames.

    Raises:
        ValueError: bboxes has another form, or does not match the number of frames.
    """
    each = _listed(bboxes)
    if len(each) not in (1, frames):
        raise ValueError(f"Connect boxes for each of the {frames} pictures, or for all of them together: got "
                         f"boxes for {len(each)} pictures.")
    return each if len(each) == frames else each * frames


def boxes_of_frame(bboxes: object, frame: int) -> list[Box]:
    """Return the boxes of one frame of a clip.

    Args:
        bboxes: as for `boxes_per_frame`; several lists are those of the clip's first frames.
        frame: its number, from 0.

    Raises:
        ValueError: bboxes has another form, or no list for that frame.
    """
    each = _listed(bboxes)
    if len(each) == 1:
        return each[0]
    if frame >= len(each):
        raise ValueError(f"Set frame to 0 to {len(each) - 1}: bboxes are those of {len(each)} frames.")
    return each[frame]


def box_of(x: int, y: int, width: int, height: int, picture: tuple[int, int]) -> Box:
    """Return a box from numbers in pixels; a width or height of 0 extends to the border. picture: (H, W)."""
    bottom = y + height if height else max(picture[0], y + 1)
    right = x + width if width else max(picture[1], x + 1)
    return Box(y, x, bottom, right)


def _listed(bboxes: object) -> list[list[Box]]:
    """Return the boxes as lists: one for each frame, or one for all. Raises ValueError."""
    if isinstance(bboxes, dict):
        bboxes = [bboxes]
    if not isinstance(bboxes, (list, tuple)):
        raise ValueError(f"Connect a BOUNDING_BOX: expected bounding boxes, got {type(bboxes).__name__}.")
    if not any(isinstance(entry, (list, tuple)) for entry in bboxes):
        bboxes = [bboxes]
    return [[box for entry in listed if (box := _box(entry))] for listed in bboxes]


def _box(entry: object) -> Box | None:
    """Convert one box to whole pixels; None if it is empty. Raises ValueError."""
    try:
        x, y, width, height = (float(entry[side]) for side in SIDES)
        if not (width >= 0 and height >= 0 and math.isfinite(x + y + width + height)):
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise ValueError("Connect boxes with x, y, width and height in pixels: got "
                         f"{one_line(repr(entry))}.") from None
    if not width or not height:
        return None
    return Box(math.floor(y), math.floor(x), math.ceil(y + height), math.ceil(x + width))
