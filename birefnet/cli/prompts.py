"""Make prompts from the options --box, --point, --not-point and --scribble."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

import weights

from ..checkpoint.selector import load_selector
from ..files.errors import CheckpointError
from ..imaging import pictures
from ..imaging.boxes import Box
from ..matting import subject
from ..network.selector import Selector
from .options import CommandError


@dataclass(frozen=True)
class PromptOptions:
    """The chosen subjects: one per box, or without boxes a single one for all points and the scribble.

    Args:
        boxes: (x, y, width, height) in pixels.
        points, not_points: positive and negative points (x, y) in pixels. Of several boxes, each gets the
            positive points inside it, and all negative points.
        scribble: file of a stroke or a coarse mask, for at most one box.
    """

    boxes: tuple[tuple[int, int, int, int], ...]
    points: tuple[tuple[int, int], ...]
    not_points: tuple[tuple[int, int], ...]
    scribble: Path | None

    def settings(self) -> dict[str, object]:
        """The choice for a run's record; a run is only resumed with the same one."""
        drawn = {"scribble": str(self.scribble)} if self.scribble else {}
        return {"boxes": self.boxes, "points": self.points, "not points": self.not_points, **drawn}

    def prompts(self, height: int, width: int) -> list[subject.Prompt]:
        """Make the prompt of each subject, for a picture of this size in pixels.

        Raises:
            ValueError: the scribble has another size.
            PictureError: its file cannot be read.
        """
        drawn = {} if self.scribble is None else self._read_scribble(height, width)
        boxes = [Box(y, x, y + h, x + w) for x, y, w, h in self.boxes]
        return subject.prompts_of_boxes(boxes, self.points, self.not_points, **drawn)

    def _read_scribble(self, height: int, width: int) -> dict[str, Tensor]:
        """The scribble's mask [1,H,W], as the argument `scribble` or `mask` of a prompt."""
        mask = pictures.read(str(self.scribble))
        mask = mask[..., :3].amax(-1) * (mask[..., 3] if mask.shape[-1] == 4 else 1)
        if mask.shape[1:] != (height, width):
            raise ValueError(f"Draw {self.scribble} on the picture itself, {width}×{height} pixels: it has "
                             f"{mask.shape[2]}×{mask.shape[1]}")
        return {"scribble" if subject.is_scribble(mask) else "mask": mask}

    def choose(self, selector: Selector, alpha_of: subject.AlphaOf, picture: Tensor) -> Tensor:
        """Matte the chosen subjects together: alpha [1,H,W] of a picture [1,H,W,C].

        Raises:
            ValueError: a prompt lies outside the picture, or the scribble has another size.
            PictureError: the scribble's file cannot be read.
        """
        return subject.select_all(alpha_of, selector, picture, self.prompts(*picture.shape[1:3]))


def open_selector() -> Selector:
    """Load the included selector. Raises CommandError if its file is missing or damaged."""
    try:
        return load_selector(weights.SELECTOR)
    except (CheckpointError, OSError) as error:
        raise CommandError(str(error)) from None


def prompt_options(args: argparse.Namespace) -> PromptOptions | None:
    """The choice by the options of `add_prompt_options`; None if none of them is given.

    Raises:
        CommandError: there are only negative points, a scribble for several boxes, or more than one, or its
            file is missing.
    """
    if not (args.box or args.point or args.scribble):
        if args.not_point:
            raise CommandError("--not-point takes something away from a subject: choose one with --box, "
                               "--point or --scribble")
        return None
    if len(args.box) > 1 and args.scribble:
        raise CommandError("--scribble marks one subject: give one --box with it, or none")
    if len(args.scribble) > 1:
        raise CommandError("--scribble marks one subject: draw all of its strokes in one picture")
    for file in args.scribble:
        if not file.is_file():
            raise CommandError(f"--scribble {file}: no such file")
    return PromptOptions(tuple(args.box), tuple(args.point), tuple(args.not_point), *args.scribble or [None])
