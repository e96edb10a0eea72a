"""Numbered picture files as clips: shot.0001.exr, shot.0002.exr, …"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ..files.errors import VideoError
from ..imaging import photographs, pictures
from ..imaging.colour import to_linear
from .colour import Colour
from .library import picture_as_video_errors
from .read import Clip


class SequenceClip(Clip):
    """A clip of picture files, read one by one; in linear light if the result's format stores that.

    Args:
        paths: the files in order, of one size.
        rate: frames a second.
        style: how results are stored.
        result: name of the pictures that are written, whose format decides whether values are read in full
            depth and as linear light; None for a video, which takes sRGB in 8 bits.

    Raises:
        VideoError: a file cannot be read, or has another size than the first.
    """

    def __init__(self, paths: Sequence[str | Path], rate: Fraction, style: photographs.Style,
                 result: str | Path | None) -> None:
        self._paths, self._style = paths, style
        self._name = "" if result is None else result
        first = self._read(paths[0])
        self.linear = photographs.holds_light(self._name, first, style)
        self.height, self.width = first.srgb.shape[1:3]
        self.depth, self.bits = first.depth, 8 if first.depth == "8" else 16
        self.aspect = Fraction(float(first.header.get("pixelAspectRatio", 1))).limit_denominator(1000)
        self.colour = Colour(primaries=1, transfer=1)
        self.rate, self.count = rate, len(paths)
        self.tick = self.last = 1 / rate

    def __iter__(self) -> Iterator[tuple[Fraction, Tensor]]:
        for index, path in enumerate(self._paths):
            picture = photographs.colours_for(self._name, self._read(path), self._style)[0]
            if picture.shape[:2] != (self.height, self.width):
                height, width = picture.shape[:2]
                raise VideoError("Resize it or leave it out",
                                 f"expected {self.width}×{self.height} pixels as the first frame has, "
                                 f"got {width}×{height}", path)
            yield index * self.tick, picture

    def _read(self, path: str | Path) -> photographs.Photograph:
        """Read one file; raises VideoError."""
        with picture_as_video_errors("Replace this frame or leave it out"):
            return photographs.read(path, style=self._style, name=self._name)


class FrameFiles:
    """Writes numbered picture files, each of them atomically.

    Args:
        names: index from 0 → file.
        clip: the source, which decides linear light, sample depth and pixel aspect.
        style: how they are stored.
        grey: keep only the first channel, for mattes.
        force: replace files that exist.
    """

    def __init__(self, names: Callable[[int], Path], clip: Clip, style: photographs.Style, *, grey: bool,
                 force: bool) -> None:
        self._names, self._style, self._grey, self._force = names, style, grey, force
        self._linear, self._depth = clip.linear, getattr(clip, "depth", "8")
        self._header = {} if clip.aspect == 1 else {"pixelAspectRatio": float(clip.aspect)}
        self._count = 0

    def write(self, time: Fraction, picture: Tensor) -> None:
        """Write a picture [H,W,3], or [H,W,4] with straight alpha; raises VideoError."""
        path = self._names(self._count)
        self._count += 1
        picture = picture[None, ..., :1] if self._grey else picture[None]
        if not self._grey and not self._linear and path.suffix.lower() == ".exr":
            picture = torch.cat([to_linear(picture[..., :3].clamp(0, 1)), picture[..., 3:]], dim=-1)
        photograph = photographs.Photograph(picture, picture, depth=self._depth, header=self._header)
        try:
            with picture_as_video_errors("Choose another format or depth"):
                content = photographs.encode(path, picture, photograph, self._style)
            pictures.write_file(path, content, force=self._force)
        except FileExistsError:
            raise VideoError("Pass --force to overwrite it", "it exists", path) from None
        except OSError as error:
            raise VideoError("Write it elsewhere or free disk space",
                             f"cannot be written ({error.strerror or error})", path) from None
