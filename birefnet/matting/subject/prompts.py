"""Prompts (boxes, points, strokes, coarse masks), and the maps of them that the selector reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...files.packages import require
from ...imaging.boxes import Box, bounding_box, enclosing_box
from ...imaging.resize import limit_side

TOUCH_RADIUS = 2.5   # pixels of the selector's maps: radius of the disc drawn for a click
STROKE_SHARE = 0.06  # of the longer side: the largest width of a stroke
LARGEST_SHARE = 0.25  # of the shorter side: the same, in very long pictures
STROKE_LEVEL = 0.5   # value of a stroke's mask from which a pixel belongs to it
STROKE_SIDE = 512    # pixels: longest side at which the width of strokes is measured


@dataclass(frozen=True)
class Prompt:
    """A prompt for one subject; any of these can be combined.

    Args:
        box: a box around the subject, in pixels.
        points: positive points: pixels (x, y) of the subject, counted from 0.
        not_points: negative points: pixels (x, y) of anything else.
        scribble: float [1,H,W]: positive strokes where it is at least STROKE_LEVEL.
        mask: float [1,H,W] in 0..1, a coarse mask, 1 = subject.
        not_scribble: float [1,H,W], in the same way: other subjects, which `Follower` knows. It only guides
            the selector.
    """

    box: Box | None = None
    points: tuple[tuple[int, int], ...] = ()
    not_points: tuple[tuple[int, int], ...] = ()
    scribble: Tensor | None = None
    mask: Tensor | None = None
    not_scribble: Tensor | None = None

    def extent(self) -> Box | None:
        """The smallest box around all positive prompts; None if there are none."""
        boxes = [self.box, *(Box(y, x, y + 1, x + 1) for x, y in self.points)]
        boxes += [bounding_box(drawn[0], STROKE_LEVEL) for drawn in (self.scribble, self.mask)
                  if drawn is not None]
        return enclosing_box(boxes)

    def touched(self, size: tuple[int, int]) -> np.ndarray | None:
        """The pixels of positive points and strokes.

        Args:
            size: the picture's (H, W).

        Returns:
            bool [H,W]; None if there are none.
        """
        touched = np.zeros(size, bool)
        for x, y in self.points:
            touched[y, x] = True
        if self.scribble is not None:
            touched |= (self.scribble[0] >= STROKE_LEVEL).cpu().numpy()
        return touched if touched.any() else None

    def touches(self, alpha: Tensor) -> float:
        """The largest alpha [1,H,W] under positive points and strokes; without any, in the whole picture."""
        touched = self.touched(tuple(alpha.shape[1:]))
        return float(alpha.max() if touched is None
                     else alpha[0, torch.from_numpy(touched).to(alpha.device)].max())


def prompts_of_boxes(
    boxes: Sequence[Box], points: Sequence[tuple[int, int]] = (),
    not_points: Sequence[tuple[int, int]] = (), scribble: Tensor | None = None, mask: Tensor | None = None,
) -> list[Prompt]:
    """Make one prompt for each box; without boxes a single one of everything else.

    Of several boxes, each gets the positive points and the part of the scribble or mask that lie inside it,
    and all negative points.

    Args:
        boxes: in pixels.
        points, not_points, scribble, mask: as for `Prompt`.

    Raises:
        ValueError: a positive point is in none of several boxes.
    """
    if len(boxes) < 2:
        return [Prompt(boxes[0] if boxes else None, tuple(points), tuple(not_points), scribble, mask)]
    for x, y in points:
        if not any(box.holds(x, y) for box in boxes):
            raise ValueError(f"Give a box around the point ({x}, {y}) too, or take it away: of several boxes "
                             "each has the points inside it, and this one is in none")
    made = []
    for box in boxes:
        inside = tuple(point for point in points if box.holds(*point))
        drawn = [None if one is None else crop_to_box(one, box) for one in (scribble, mask)]
        made.append(Prompt(box, inside, tuple(not_points), *drawn))
    return made


def crop_to_box(mask: Tensor, box: Box) -> Tensor:
    """Set a mask [1,H,W] to 0 outside a box."""
    inside = (slice(None), slice(max(box.top, 0), box.bottom), slice(max(box.left, 0), box.right))
    kept = torch.zeros_like(mask)
    kept[inside] = mask[inside]
    return kept


def is_scribble(mask: Tensor) -> bool:
    """Whether a mask [1,H,W] is a stroke and not a shape: it is nowhere wider than STROKE_SHARE of the longer
    side, nor than LARGEST_SHARE of the shorter one.

    Raises:
        PackageError: SciPy is missing.
    """
    ndimage = require("scipy.ndimage", "telling strokes from coarse masks")
    small = F.adaptive_max_pool2d((mask >= STROKE_LEVEL).float(), limit_side(mask.shape[1:], STROKE_SIDE))[0]
    deepest = ndimage.distance_transform_edt(F.pad(small, (1, 1, 1, 1)).cpu().numpy()).max()
    return 2 * deepest - 1 <= min(STROKE_SHARE * max(small.shape), LARGEST_SHARE * min(small.shape))


def draw_maps(prompt: Prompt, crop: Box, side: int) -> Tensor:
    """Draw a prompt as the selector's first four maps.

    Args:
        prompt: in the picture's coordinates.
        crop: the part of the picture that the selector sees, in pixels.
        side: of the maps, in pixels.

    Returns:
        float32 [1,4,side,side]: positive and negative touches, 0 or 1; box and coarse mask, -1 outside to 1
        inside, 0 without one.
    """
    height, width = crop.height, crop.width

    def seen(points: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
        inside = [(x - crop.left, y - crop.top) for x, y in points if crop.holds(x, y)]
        return [((x + 0.5) * side / width - 0.5, (y + 0.5) * side / height - 0.5) for x, y in inside]

    maps = torch.zeros(4, side, side)
    maps[0] = draw_touches(seen(prompt.points), side)
    maps[1] = draw_touches(seen(prompt.not_points), side)
    for i, drawn in enumerate((prompt.scribble, prompt.not_scribble)):
        if drawn is not None:
            part = (drawn[:, crop.top:crop.bottom, crop.left:crop.right] >= STROKE_LEVEL).float().cpu()
            maps[i] = maps[i].maximum(F.adaptive_max_pool2d(part, (side, side))[0])
    if prompt.box is not None:
        rows = (torch.arange(side) + 0.5) * height / side + crop.top
        columns = (torch.arange(side) + 0.5) * width / side + crop.left
        inside = ((rows >= prompt.box.top) & (rows < prompt.box.bottom))[:, None] & (
            (columns >= prompt.box.left) & (columns < prompt.box.right))
        maps[2] = torch.where(inside, 1.0, -1.0)
    if prompt.mask is not None:
        part = prompt.mask[:, crop.top:crop.bottom, crop.left:crop.right].float().cpu()
        maps[3] = 2 * F.interpolate(part[None], (side, side), mode="area")[0, 0] - 1
    return maps[None]


def draw_touches(points: Sequence[tuple[float, float]], side: int) -> Tensor:
    """Discs of TOUCH_RADIUS around points (x, y): 1 inside, 0 outside, float32 [side,side]."""
    drawn = torch.zeros(side, side)
    if points:
        x, y = torch.tensor(points, dtype=torch.float32).T
        rows = (torch.arange(side)[None] - y[:, None])[:, :, None]
        columns = (torch.arange(side)[None] - x[:, None])[:, None]
        drawn[(rows.square() + columns.square() <= TOUCH_RADIUS**2).any(0)] = 1
    return drawn
