"""Search a picture for the subject of a prompt that does not tell its size.

In the whole picture the network may overlook a subject that it mattes well in a closer crop, and a closer
crop may show only a part of it. So crops are tried from far to near, and the first that shows the subject is
widened until none of its sides cuts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor

from ...imaging.boxes import Box
from .looks import POINT_ZOOMS, SOLID_ALPHA, part_around, widen_box
from .prompts import Prompt

REGION_LEVEL = 0.3    # alpha from which pixels form a region
FAINT = 0.05          # alpha up to which a pixel counts as background
MAX_WIDER_LOOKS = 2   # crops tried where the first cuts the subject
WIDENING = 0.5        # of the crop's longer side: by so much it is widened on every side


class View(NamedTuple):
    """What a crop shows.

    Args:
        seen: the crop, in pixels.
        alpha: [1,H,W], its matte of everything salient.
        meant: [1,H,W] in 0..1, the share of each pixel's alpha that the prompt means.
    """

    seen: Box
    alpha: Tensor
    meant: Tensor

    def shows(self, prompt: Prompt, level: float) -> bool:
        """Whether there is alpha above a level under the prompt's points or strokes, and they mean it."""
        return prompt.touches(self.meant * (self.alpha > level)) >= SOLID_ALPHA

    def cuts_subject(self) -> bool:
        """Whether the subject reaches a side of the crop that is not one of the picture's."""
        height, width = self.alpha.shape[1:]
        rows, columns = self.seen.slices
        subject, seen = (self.meant * self.alpha)[0, rows, columns], self.seen
        sides = ((seen.top > 0, subject[0]), (seen.bottom < height, subject[-1]),
                 (seen.left > 0, subject[:, 0]), (seen.right < width, subject[:, -1]))
        return any(inside and float(line.max()) >= SOLID_ALPHA for inside, line in sides)


def search(look_at: Callable[[Box], View], prompt: Prompt, context: float, height: int, width: int
           ) -> View | None:
    """Find a crop that shows the subject of a prompt.

    Args:
        look_at: mattes a crop and predicts what of it is meant.
        prompt: clipped to the picture.
        context: margin around the box or mask of a prompt, as a share of the longer side.
        height, width: of the picture.

    Returns:
        The first of `first_crops` with a region under the prompt, widened; if there is none, the first with
        anything under it; None if nothing is.
    """
    crops = first_crops(prompt, context, height, width)
    view = first_view(map(look_at, crops), prompt)
    for _ in range(MAX_WIDER_LOOKS if len(crops) > 1 else 0):
        if view is None or not view.cuts_subject():
            break
        wider = look_at(widen_box(view.seen, WIDENING, height, width))
        if not wider.shows(prompt, REGION_LEVEL):
            break
        view = wider
    return view


def first_view(views: Iterable[View], prompt: Prompt) -> View | None:
    """The first view with a region under the prompt; else the first with anything under it, or None."""
    faint = None
    for view in views:
        if view.shows(prompt, REGION_LEVEL):
            return view
        if faint is None and view.shows(prompt, FAINT):
            faint = view
    return faint


def first_crops(prompt: Prompt, context: float, height: int, width: int) -> list[Box]:
    """The crops in which to look for the subject, in order: for a box or mask one, with `context` around it;
    for points and strokes, which do not tell its size, the picture and smaller parts around them."""
    extent = prompt.extent()
    if prompt.box is not None or prompt.mask is not None:
        return [widen_box(extent, context, height, width)]
    x, y = (extent.left + extent.right) // 2, (extent.top + extent.bottom) // 2
    views = [part_around(x, y, height, width, zoom) for zoom in POINT_ZOOMS]
    return [view for view in views if view.contains(extent)]
