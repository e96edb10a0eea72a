"""Convert clips to what a kind of file can hold: square pixels, and SDR colours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial

import torch
from torch import Tensor

from ..imaging.colour import to_srgb
from ..imaging.resize import resample
from . import tone
from .animation import ANIMATIONS
from .colour import BT709
from .read import Clip
from .write import FORMATS

SQUARE_ONLY = ("vp9", "png", *ANIMATIONS)  # kinds of file without a pixel aspect, in the format or in PyAV


class Adapted:
    """A clip whose pictures are changed as they are read; times, sound and other properties are kept."""

    def __init__(self, clip: Clip, change: Callable[[Tensor], Tensor]) -> None:
        self._clip, self._change = clip, change

    def __getattr__(self, name: str) -> object:
        return getattr(self._clip, name)

    def __enter__(self) -> Adapted:
        return self

    def __exit__(self, *_) -> None:
        pass  # the code that opened the clip closes it

    def __iter__(self) -> Iterator[tuple[Fraction, Tensor]]:
        return ((time, self._change(picture)) for time, picture in self._clip)


class Square(Adapted):
    """A clip with square pixels: one side is stretched, none is shrunk, so no detail is lost."""

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip, self._stretch)
        self.width = round(clip.width * max(clip.aspect, Fraction(1)))
        self.height = round(clip.height / min(clip.aspect, Fraction(1)))
        self.aspect = Fraction(1)

    def _stretch(self, picture: Tensor) -> Tensor:
        planar = picture.permute(2, 0, 1)[None].contiguous()
        return resample(planar, (self.height, self.width))[0].permute(1, 2, 0)


class Sdr(Adapted):
    """An HDR clip, tone-mapped to BT.709."""

    def __init__(self, clip: Clip) -> None:
        hdr = clip.colour
        super().__init__(clip, partial(tone.to_sdr, transfer=hdr.transfer, primaries=hdr.primaries))
        self.colour = replace(clip.colour, matrix=BT709, primaries=1, transfer=1, full=False)


def keeps_hdr(kind: str) -> bool:
    """Whether a kind of file keeps a cut-out's HDR signal. Results without alpha (over a background, masks)
    are SDR."""
    return kind in FORMATS and FORMATS[kind].alpha and FORMATS[kind].bits(10) > 8


def adapt(clip: Clip, kind: str) -> tuple[Clip, list[str]]:
    """Convert a clip to what a kind of file can hold.

    Args:
        clip: the clip.
        kind: as for `writing`.

    Returns:
        The clip itself or a converted one, and a sentence for each change.
    """
    changes = []
    if clip.aspect != 1 and kind in SQUARE_ONLY:
        adapted = Square(clip)
        changes.append(f"stretched from {clip.width}×{clip.height} to {adapted.width}×{adapted.height}, as "
                    f"its pixels are {clip.aspect.numerator}:{clip.aspect.denominator} and this kind of file "
                    "has square ones")
        clip = adapted
    if tone.is_hdr(clip.colour.transfer) and not keeps_hdr(kind):
        changes.append("tone-mapped from HDR to BT.709; a .mov (ProRes) keeps HDR")
        clip = Sdr(clip)
    return clip, changes


def light_to_srgb(picture: Tensor) -> Tensor:
    """Convert linear light [H,W,C] to sRGB, clipped at 1; alpha is kept."""
    colours = picture[..., :3].nan_to_num().clamp(0, 1)
    return torch.cat([to_srgb(colours), picture[..., 3:]], dim=-1)


def network_conversion(clip: Clip) -> Callable[[Tensor], Tensor] | None:
    """A function that converts a clip's pictures to SDR, as networks expect them; None if they are SDR."""
    if clip.linear:
        return light_to_srgb
    if not tone.is_hdr(clip.colour.transfer):
        return None
    return partial(tone.to_sdr, transfer=clip.colour.transfer, primaries=clip.colour.primaries)


@contextlib.contextmanager
def open_for_network(open_clip: Callable[[], Clip], kind: str) -> Iterator[Clip]:
    """Open a clip as a network sees it, converted by `adapt` and `network_conversion`."""
    with open_clip() as source:
        clip, _ = adapt(source, kind)
        convert = network_conversion(clip)
        yield clip if convert is None else Adapted(clip, convert)
