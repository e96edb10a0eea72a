"""Frame subjects: crop and scale pictures by their subjects' boxes onto canvases of one size.

`measure_subject` finds the subject in a mask, `plan_frames` chooses the canvas and each picture's place on
it; `compose` then puts the subject over a background, `show_original` keeps the photograph around it, and
`inpaint.paste_window` with `framed_window` is the way back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..imaging.boxes import Box, bounding_box
from ..imaging.transform import Size, coverage, resample_box
from .canvas import ROUNDING, Placement
from .inpaint import FractionalWindow

FRAME_POSITIONS = ("centre", "bottom", "keep")
SCALE_BY = ("fit", "height", "area")
MARGIN_UNITS = ("share", "pixels")
SUBJECT_ALPHA = 0.5  # a subject's box encloses the pixels with at least this alpha
LARGEST_SIDE = 16384  # pixels of a canvas that node and command line offer


@dataclass(frozen=True)
class Framing:
    """How subjects are framed.

    Args:
        width, height: of the canvas in pixels. If one is 0 it follows from the other and `aspect` or the
            subject's box; if both are, subjects keep their own pixels, and the canvas holds the largest box
            with its margins.
        margin: kept free on every side: a share of the canvas's shorter side, 0..1, or pixels of the canvas.
        margin_unit: one of MARGIN_UNITS.
        position: one of FRAME_POSITIONS: in the middle; in the middle of the width, standing on the ground
            line; or as far to the right and down, relative to the canvas, as it was in its picture, within
            the margins.
        ground: where "bottom" stands: a share of the canvas's height above its lower edge. None: the margin.
        scale_by: one of SCALE_BY: each subject as large as the margins allow; or all of equal height, or
            equal area (the sum of alpha).
        share: that height or area as a share of the canvas's, 0..1; a subject for which there is no room is
            made to fit. 0: the largest at which all of `plan_frames` fit.
        aspect: the canvas's width / height, where it is not given by both; 0 for the box's.
        multiple: the canvas's sides are rounded up to multiples of this many pixels.

    Raises:
        ValueError: a name is not among those above, margin or ground leave no room, or `scale_by` has no
            canvas to refer to.
    """

    width: int = 0
    height: int = 0
    margin: float = 0.05
    margin_unit: str = MARGIN_UNITS[0]
    position: str = FRAME_POSITIONS[0]
    ground: float | None = None
    scale_by: str = SCALE_BY[0]
    share: float = 0.0
    aspect: float = 0.0
    multiple: int = 1

    def __post_init__(self) -> None:
        for name, known in (("position", FRAME_POSITIONS), ("scale_by", SCALE_BY),
                            ("margin_unit", MARGIN_UNITS)):
            if getattr(self, name) not in known:
                raise ValueError(f"Set {name} to {', '.join(known)}: it is {getattr(self, name)!r}")
        if self.scale_by != "fit" and not (self.width and self.height or self.aspect
                                           and (self.width or self.height)):
            raise ValueError(f"Set width and height, or one of them and aspect: scale_by {self.scale_by} "
                             "needs a canvas of known size")
        if self.margin_unit != "pixels" and self.margin >= 0.5 or (self.ground or 0) >= 1:
            raise ValueError("Lower margin below 50 per cent and ground below 100: else there is no room")


class Subject(NamedTuple):
    """A picture's size (H,W), its subject's box, and the subject's area: the sum of alpha, in pixels."""

    picture: Size
    box: Box
    area: float


class FramePlan(NamedTuple):
    """The canvas (H,W) in pixels, each picture's place on it, and the indices of the subjects that are
    smaller than `scale_by` and `share` ask for, because there is no room."""

    canvas: Size
    places: list[Placement]
    limited: list[int]


def measure_subject(mask: Tensor, threshold: float = SUBJECT_ALPHA) -> Subject | None:
    """Measure the subject of a mask.

    Args:
        mask: float [H,W] in 0..1, 1 = subject.
        threshold: pixels with at least this alpha belong to the box.

    Returns:
        The subject, or None where no pixel reaches the threshold.
    """
    box = bounding_box(mask, threshold)
    return None if box is None else Subject(tuple(mask.shape), box, mask.sum(dtype=torch.float64).item())


def plan_frames(subjects: list[Subject], framing: Framing) -> FramePlan:
    """Choose one canvas for all subjects, and each one's place on it.

    Args:
        subjects: one or more.
        framing: see `Framing`.

    Raises:
        ValueError: margins and ground leave no room.
    """
    canvas = _canvas(subjects, framing)
    height, width = canvas
    margin = round(_margin(framing, min(canvas)))
    ground = height - (margin if framing.ground is None else round(framing.ground * height))
    bottom = ground if framing.position == "bottom" else height - margin
    if bottom <= margin or width <= 2 * margin:
        raise ValueError(f"Lower margin or ground: on a canvas of {width}×{height} pixels they leave no "
                         "room")
    room = [min((bottom - margin) / subject.box.height, (width - 2 * margin) / subject.box.width)
            for subject in subjects]
    scales, limited = _scales(subjects, framing, canvas, room)
    places = []
    for subject, scale in zip(subjects, scales):
        size = subject.box.height * scale, subject.box.width * scale
        if framing.position == "keep":
            corner = [
                min(max((start + stop) / 2 / length * side - part / 2, margin), side - margin - part)
                for start, stop, length, side, part in zip(subject.box[:2], subject.box[2:], subject.picture,
                                                          canvas, size)]
        else:
            corner = [bottom - size[0] if framing.position == "bottom" else (height - size[0]) / 2,
                      (width - size[1]) / 2]
        top, left = (at - start * scale for at, start in zip(corner, subject.box))
        # At scale 1 the corner is rounded, so that pixels are copied exactly.
        places.append(Placement(round(top), round(left), scale) if scale == 1
                      else Placement(top, left, scale))
    return FramePlan(canvas, places, limited)


def framed_window(where: Placement, canvas: Size) -> FractionalWindow:
    """Invert `where`: return the part of a picture that its frame shows, for `inpaint.paste_window`."""
    top, left, bottom, right = where.visible_box(canvas)
    return FractionalWindow(top, left, bottom - top, right - left)


def show_original(image: Tensor, where: Placement, canvas: Size, colour: Tensor) -> Tensor:
    """Show the photograph itself in its frame.

    Args:
        image: float [1,H,W,3] in 0..1.
        where: its place on the canvas.
        canvas: height and width in pixels.
        colour: float [3] in 0..1, where the canvas reaches beyond the photograph.

    Returns:
        float [1,*canvas,3] in 0..1; at scale 1 an exact copy of the photograph's pixels.
    """
    box = where.visible_box(canvas)
    shown = resample_box(image, box, canvas).clamp(0, 1)
    return torch.lerp(colour.to(image), shown,
                      coverage(tuple(image.shape[1:3]), box, canvas)[..., None].to(image))


def _canvas(subjects: list[Subject], framing: Framing) -> Size:
    """Compute the canvas's height and width in pixels; see `Framing`."""
    height, width = framing.height, framing.width
    if not (height and width):
        own_height, own_width = _own_canvas(subjects, framing)
        if width:
            height = own_height * width / own_width
        elif height:
            width = own_width * height / own_height
        else:
            height, width = own_height, own_width
    return tuple(max(math.ceil(side / framing.multiple - ROUNDING), 1) * framing.multiple
                 for side in (height, width))


def _own_canvas(subjects: list[Subject], framing: Framing) -> tuple[float, float]:
    """Compute the smallest canvas of the wanted aspect that holds every box with its margins at scale 1."""
    needed = (max(subject.box.height for subject in subjects),
              max(subject.box.width for subject in subjects))
    if framing.margin_unit == "pixels":
        height, width = (side + 2 * framing.margin for side in needed)
    elif framing.aspect:
        sides = max(1 / framing.aspect, 1), max(framing.aspect, 1)  # of a canvas whose shorter side is 1
        shorter = max(need / (side - 2 * _margin(framing, 1)) for need, side in zip(needed, sides))
        height, width = (side * shorter for side in sides)
    else:
        shorter = min(needed) / (1 - 2 * _margin(framing, 1))
        height, width = (side + 2 * _margin(framing, shorter) for side in needed)
    if framing.position == "bottom" and framing.ground is not None:
        height = max(height, (needed[0] + _margin(framing, min(height, width))) / (1 - framing.ground))
    if framing.aspect:
        height = max(height, width / framing.aspect)
        width = height * framing.aspect
    return height, width


def _margin(framing: Framing, shorter_side: float) -> float:
    """Return the margin in pixels, for a canvas with this shorter side."""
    return framing.margin if framing.margin_unit == "pixels" else framing.margin * shorter_side


def _scales(subjects: list[Subject], framing: Framing, canvas: Size, room: list[float]
            ) -> tuple[list[float], list[int]]:
    """Compute each subject's scale, and the indices of those that `room`, the largest scales, limits."""
    if framing.scale_by == "fit":
        return (room if framing.width or framing.height else [1.0] * len(subjects)), []
    if framing.scale_by == "height":
        per_target = [1 / subject.box.height for subject in subjects]  # scale = target × this
        length = canvas[0]
    else:  # the square root of the area is a length, too
        per_target = [1 / math.sqrt(subject.area) for subject in subjects]
        length = math.sqrt(canvas[0] * canvas[1])
    if framing.share:
        target = length * (framing.share if framing.scale_by == "height" else math.sqrt(framing.share))
    else:
        target = min(scale / per for scale, per in zip(room, per_target))
    wanted = [target * per for per in per_target]
    limited = [i for i, (scale, most) in enumerate(zip(wanted, room)) if scale > most * (1 + ROUNDING)]
    return [min(pair) for pair in zip(wanted, room)], limited
