"""What says which subject is meant: boxes, points, strokes and coarse masks, and their maps for the
selector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...files.packages import require
from ...imaging.boxes import Box, bounding_box

TOUCH_RADIUS = 2.5    # pixels of the selector's maps: how large a click is drawn
STROKE_SHARE = 0.06     # of the longer side: how wide a stroke may be
STROKE_LEVEL = 0.5    # where a stroke's mask touches


@dataclass(frozen=True)
class Prompt:
    """One subject, by any mixture of these.

    Args:
        box: around it, in pixels.
        points: pixels (x, y) on it, from 0.
        not_points: pixels on what is not wanted.
        scribble: float [1,H,W], above 1/2 where strokes touch it.
        mask: float [1,H,W] in 0..1, which is the subject, roughly.
        not_scribble: float [1,H,W], above 1/2 where strokes touch what is not wanted.
    """

    box: Box | None = None
    points: tuple[tuple[int, int], ...] = ()
    not_points: tuple[tuple[int, int], ...] = ()
    scribble: Tensor | None = None
    mask: Tensor | None = None
    not_scribble: Tensor | None = None

    def extent(self) -> Box | None:
        """The box of all that says where the subject is; None where nothing does."""
        boxes = [Box(y, x, y + 1, x + 1) for x, y in self.points]
        if self.box is not None:
            boxes.append(self.box)
        for drawn in (self.scribble, self.mask):
            found = None if drawn is None else bounding_box(drawn[0], STROKE_LEVEL)
            if found is not None:
                boxes.append(found)
        if not boxes:
            return None
        return Box(min(box.top for box in boxes), min(box.left for box in boxes),
                   max(box.bottom for box in boxes), max(box.right for box in boxes))

    def touched(self, size: tuple[int, int]) -> np.ndarray | None:
        """bool [H,W]: the pixels under the points and strokes; None where there are none of them."""
        touched = np.zeros(size, bool)
        for x, y in self.points:
            touched[y, x] = True
        if self.scribble is not None:
            touched |= (self.scribble[0] > STROKE_LEVEL).cpu().numpy()
        return touched if touched.any() else None

    def touches(self, alpha: Tensor) -> float:
        """The largest alpha [1,H,W] under the points and strokes, or, where there are none, anywhere."""
        touched = self.touched(tuple(alpha.shape[1:]))
        return float(alpha.max() if touched is None
                     else alpha[0, torch.from_numpy(touched).to(alpha.device)].max())


def is_scribble(mask: Tensor) -> bool:
    """Whether a mask [1,H,W] is rather a stroke than a shape: nowhere wider than STROKE_SHARE.

    Raises:
        PackageError: SciPy is missing.
    """
    ndimage = require("scipy.ndimage", "telling strokes from coarse masks")
    small = F.adaptive_max_pool2d((mask > STROKE_LEVEL).float(),
                                  [min(side, 512) for side in mask.shape[1:]])[0]
    deepest = ndimage.distance_transform_edt(F.pad(small, (1, 1, 1, 1)).cpu().numpy()).max()
    return 2 * deepest - 1 <= STROKE_SHARE * max(small.shape)


def draw_maps(prompt: Prompt, crop: Box, side: int) -> Tensor:
    """The selector's first four maps, float32 [1,4,side,side], of a prompt as seen in a crop of the
    picture."""
    height, width = crop.bottom - crop.top, crop.right - crop.left

    def seen(points: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
        inside = [(x - crop.left, y - crop.top) for x, y in points
                  if crop.left <= x < crop.right and crop.top <= y < crop.bottom]
        return [((x + 0.5) * side / width - 0.5, (y + 0.5) * side / height - 0.5) for x, y in inside]

    maps = torch.zeros(4, side, side)
    maps[0], maps[1] = draw_touches(seen(prompt.points), side,
                                    side), draw_touches(seen(prompt.not_points), side, side)
    for i, drawn in enumerate((prompt.scribble, prompt.not_scribble)):
        if drawn is not None:
            part = (drawn[:, crop.top:crop.bottom, crop.left:crop.right] > STROKE_LEVEL).float().cpu()
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


def draw_touches(points: Sequence[tuple[float, float]], height: int, width: int) -> Tensor:
    """1 within TOUCH_RADIUS of the points (x, y), 0 elsewhere: float32 [height,width]."""
    drawn = torch.zeros(height, width)
    if points:
        x, y = torch.tensor(points, dtype=torch.float32).T
        rows = (torch.arange(height)[None] - y[:, None])[:, :, None]
        columns = (torch.arange(width)[None] - x[:, None])[:, None]
        drawn[(rows.square() + columns.square() <= TOUCH_RADIUS**2).any(0)] = 1
    return drawn
