"""Reads the prompts for one subject of a clip, and mattes it in all frames."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

from torch import Tensor

from ...birefnet import masks
from ...birefnet import video as videos
from ...birefnet.matting import subject
from . import convert, messages
from .alpha import Progress, alpha_of
from .boxes import boxes_of_frame
from .points import points_of
from .selector import selector


class FramePrompts(NamedTuple):
    """What chooses a subject in one frame.

    Args:
        read: from the frame [1,H,W,C] to prompts; the result is the union of their subjects.
        only_points: the pixels (x, y) of the prompt if it has nothing else.
    """

    read: Callable[[Tensor], list[subject.Prompt]]
    only_points: tuple[tuple[int, int], ...]


def prompts_of(points: str, negative_points: str, bboxes: object, mask: Tensor | None, frame: int
               ) -> FramePrompts | None:
    """Return the prompts of a node's inputs for one frame; None if no input selects a subject.

    Args:
        points, negative_points: JSON text, see `points_of`.
        bboxes: see `boxes_of_frame`.
        mask: a coarse mask or a scribble, of any size, or None.
        frame: number of the frame, from 0.

    Raises:
        ValueError: an input has another form, there is no box in bboxes and no other prompt, or there are
            only negative points.
    """
    wanted, unwanted = tuple(points_of(points)), tuple(points_of(negative_points))
    boxes = [] if bboxes is None else boxes_of_frame(bboxes, frame)
    if not (wanted or boxes or mask is not None):
        if bboxes is not None:
            raise ValueError("Choose another frame, or take bboxes away to matte everything: they hold no "
                             f"box for frame {frame}.")
        if unwanted:
            raise ValueError("Give points too: negative_points only take something away from a subject.")
        return None

    def read(picture: Tensor) -> list[subject.Prompt]:
        drawn = {}
        if mask is not None:
            first = convert.Cleaner("the mask")(convert.frame(convert.masks(mask), 0)).to(picture.device)
            drawn = read_mask(masks.resize(first, tuple(picture.shape[1:3])))
        return subject.prompts_of_boxes(boxes, wanted, unwanted, **drawn)

    return FramePrompts(read, () if boxes or mask is not None else wanted)


def read_mask(drawn: Tensor, mask_is: str = "automatic") -> dict[str, Tensor]:
    """Return the field of a Prompt, `scribble` or `mask`, that a mask [1,H,W] fills."""
    touches = mask_is == "scribble" or mask_is == "automatic" and subject.is_scribble(drawn)
    return {"scribble" if touches else "mask": drawn}


def follow(
    model: object, size: int, open_clip: Callable[[], AbstractContextManager[videos.Clip]],
    prompts: FramePrompts, frame: int,
) -> videos.Following:
    """Return the mattes of a subject that is chosen in one frame.

    Args:
        model: from a BACKGROUND_REMOVAL socket.
        size: as for `worker_for`.
        open_clip: opens the clip, which is also read backwards from `frame`.
        prompts: choose the subject. If they are only points, subjects that touch are parted.
        frame: number, from 0, of the frame in which it is chosen.
    """
    ask = alpha_of(model, size, Progress(1))

    def choose(picture: Tensor) -> Tensor:
        return subject.select_all(ask, selector(), picture, prompts.read(picture))

    def report(done: int, total: int) -> None:
        messages.say(f"Following backwards: frame {done} of {total}")

    parting = None
    if prompts.only_points:
        parting = partial(subject.find_parting, ask, selector(), prompts.only_points)
    return videos.Following(open_clip, choose, partial(subject.Follower, ask, selector()), frame, report,
                            parting)
