"""Compose a frame of the result: the subject over a background, a cut-out, or the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from ..composite import fit_to_canvas
from ..imaging.levels import HALF_LEVEL
from .read import Clip

# (time in seconds, colours [1,H,W,3], alpha [1,H,W]) -> picture [H,W,3], or [H,W,4] with straight alpha
Renderer = Callable[[Fraction, Tensor, Tensor], Tensor]

# Pixels: width of the transparent band around the subject that keeps its colours, as codecs mix neighbours.
HALO = 8


def mask(time: Fraction, colours: Tensor, alpha: Tensor) -> Tensor:
    """The alpha as a grey picture."""
    return alpha[0, ..., None].expand(-1, -1, 3)


def cutout(time: Fraction, colours: Tensor, alpha: Tensor) -> Tensor:
    """RGBA; black farther than HALO from the subject, so that the removed background is not in the file."""
    near = F.max_pool2d(alpha, 2 * HALO + 1, stride=1, padding=HALO)[..., None] > HALF_LEVEL
    return torch.cat([torch.where(near, colours, 0.0), alpha[..., None]], dim=-1)[0]


class Over:
    """The subject over a colour [3], or over another clip, which is repeated when it ends.

    Args:
        colour: also beside a clip that leaves a part of the frame empty.
        open: opens the clip from its start.
        fit: how it is fitted to the frame's size, as for `composite.fit_to_canvas`.
    """

    def __init__(self, colour: Tensor, open: Callable[[], Clip] | None = None, fit: str = "fill") -> None:
        self._colour, self._fit = colour, fit
        self._pictures = iter(()) if open is None else endless(open)
        self._next = next(self._pictures, None)
        self._behind = None

    def __call__(self, time: Fraction, colours: Tensor, alpha: Tensor) -> Tensor:
        shown = None
        while self._next is not None and self._next[0] <= time:
            shown, self._next = self._next[1], next(self._pictures, None)
        if shown is not None:
            size = tuple(colours.shape[1:3])
            self._behind = fit_to_canvas(shown[None].to(colours), size, self._fit, self._colour)
        behind = self._colour.to(colours) if self._behind is None else self._behind
        return torch.lerp(behind.expand_as(colours), colours, alpha[..., None])[0]


def endless(open: Callable[[], Clip]) -> Iterator[tuple[Fraction, Tensor]]:
    """Yield a clip's (time, picture), repeated endlessly with growing times; a single picture once."""
    start, count = Fraction(0), 0
    while count != 1:
        count = 0
        with open() as clip:
            for count, (time, picture) in enumerate(clip, 1):
                last = start + time
                yield last, picture.expand(*picture.shape[:2], max(picture.shape[-1], 3))
            start = last + 1 / clip.rate
