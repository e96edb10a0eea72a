"""The option --frame: the subject on a canvas of a fixed size, by the settings of the node Frame Subject."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from torch import Tensor

from ...composite import (
    LARGEST_SIDE,
    SHADOWS,
    SUBJECT_ALPHA,
    BlendSettings,
    Framing,
    Subject,
    compose,
    measure_subject,
    plan_frames,
)
from ...imaging.boxes import Box
from ..options import CommandError

# Settings by the kind of their values.
WORDS = ("position", "scale_by", "shadow")
COUNTS = ("width", "height", "multiple")  # pixels
PER_CENT = ("ground", "share", "shadow_softness", "shadow_x", "shadow_y")
SHARES = ("threshold", "shadow_strength")  # 0..1
BLENDING = ("shadow", "shadow_strength", "shadow_softness", "shadow_x", "shadow_y")
EXAMPLE = "2000x2000,margin=5%,position=bottom,shadow=contact"


@dataclass(frozen=True)
class Frame:
    """How subjects are framed and blended.

    threshold: alpha from which a pixel belongs to the subject's box.
    """

    framing: Framing
    threshold: float
    blending: BlendSettings

    def apply(self, colours: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Frame one picture.

        Args:
            colours: float [1,H,W,3 or 4] in 0..1.
            alpha: float [1,H,W] in 0..1, 1 = subject.

        Returns:
            Straight RGBA [1,h,w,4], whose alpha includes the shadow; the subject's alpha [1,h,w]; and whether
            the subject is smaller than wanted, because the margins leave too little room.
        """
        size = tuple(alpha.shape[1:])
        subject = measure_subject(alpha[0], self.threshold) or Subject(size, Box(0, 0, *size),
                                                                       size[0] * size[1])
        plan = plan_frames([subject], self.framing)
        framed, placed = compose(colours[..., :3], alpha, plan.places[0], plan.canvas, settings=self.blending)
        return framed, placed, bool(plan.limited)


def parse_frame(text: str) -> Frame:
    """Parse "2000x2000,margin=5%,position=bottom,shadow=contact": the canvas, and settings by the names of
    the node's widgets.

    Raises:
        CommandError: the text is no such list, or leaves no room for the subject.
    """
    given: dict[str, object] = {}
    for part in map(str.strip, text.split(",")):
        name, equals, value = part.partition("=")
        if size := re.fullmatch(r"(\d+)[x×](\d+)", name.lower()):
            given |= {"width": _count("width", size[1]), "height": _count("height", size[2])}
        elif not equals:
            raise CommandError(f"--frame: expected WIDTHxHEIGHT and NAME=VALUE, such as {EXAMPLE}; got "
                               f"{part or 'nothing'}")
        elif name == "margin":
            margin = _number(name, value.removesuffix("px").removesuffix("%"), 0, 4096)
            given |= ({"margin": margin, "margin_unit": "pixels"} if value.endswith("px") else
                      {"margin": margin / 100, "margin_unit": "share"})
        elif name in COUNTS:
            given[name] = _count(name, value)
        elif name in PER_CENT:
            given[name] = _number(name, value.removesuffix("%"), -100 if name[-2:] in ("_x", "_y") else 0,
                                  100) / 100
        elif name in SHARES:
            given[name] = _number(name, value, 0, 1)
        elif name == "aspect":
            given[name] = _aspect(value)
        elif name in WORDS:
            given[name] = value
        else:
            names = ", ".join((*COUNTS, "margin", "aspect", *WORDS, *PER_CENT, *SHARES))
            raise CommandError(f"--frame: expected a name of {names}; got {name}")
    return _frame(given)


def _frame(given: dict[str, object]) -> Frame:
    """Make a frame from parsed settings; raises CommandError if they do not fit together."""
    blending = {name: given.pop(name) for name in BLENDING if name in given}
    if blending.get("shadow", "none") not in SHADOWS:
        raise CommandError(f"--frame: expected a shadow of {', '.join(SHADOWS)}; got {blending['shadow']}")
    threshold = given.pop("threshold", SUBJECT_ALPHA)
    try:
        framing = Framing(**given)
        plan_frames([Subject((1, 1), Box(0, 0, 1, 1), 1)], framing)  # is there room on the canvas?
    except ValueError as error:
        raise CommandError(f"--frame: {error}") from None
    if framing.scale_by != "fit" and not framing.share:
        raise CommandError(f"--frame: add share=PER CENT of the canvas to scale_by={framing.scale_by}: "
                           "pictures are framed one by one")
    return Frame(framing, threshold, BlendSettings(**blending))


def _number(name: str, text: str, least: float, most: float) -> float:
    """Parse a number in least..most; raises CommandError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise CommandError(f"--frame: expected a number from {least:g} to {most:g} for {name}; got "
                           f"{text or 'nothing'}")
    return value


def _count(name: str, text: str) -> int:
    """Parse a number of pixels up to LARGEST_SIDE; raises CommandError."""
    least = int(name == "multiple")
    if not text.isdecimal() or not least <= int(text) <= LARGEST_SIDE:
        raise CommandError(f"--frame: expected {least} to {LARGEST_SIDE} pixels for {name}; got "
                           f"{text or 'nothing'}")
    return int(text)


def _aspect(text: str) -> float:
    """Parse "W:H" as W / H; raises CommandError."""
    across, _, down = text.partition(":")
    sides = [_number("aspect", side, 0.01, 100) for side in (across, down)]
    return sides[0] / sides[1]
