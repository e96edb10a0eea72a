"""Animated pictures (GIF, WebP, APNG) as clips, read and written frame by frame."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..files.errors import VideoError
from ..imaging import pictures
from ..imaging.levels import to_levels
from .colour import Colour
from .library import picture_as_video_errors, pyav
from .read import Clip

# How files of these formats begin.
SIGNATURES = (b"GIF8", b"\x89PNG\r\n\x1a\n", b"RIFF")
MILLISECOND = Fraction(1, 1000)
# Browsers show a GIF's frame of up to SHORT_MILLISECONDS for USUAL_MILLISECONDS, as many files have wrong
# durations of 0.
SHORT_MILLISECONDS, USUAL_MILLISECONDS = 10, 100
CLEAR = 255   # index of the transparent colour in a GIF's palette
OPAQUE = 0.5  # alpha from which a pixel of a GIF is opaque
GIF_TICKS = 2  # in 1/100 s: the shortest duration of a frame that browsers obey
OTHER_ANIMATION = "Choose another animation"


def is_animation(path: str | Path) -> bool:
    """Whether a file is a GIF, WebP or PNG, by its first bytes."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(SIGNATURES) and (start[:4] != b"RIFF" or start[8:] == b"WEBP")


class AnimationClip(Clip):
    """A clip from an animated GIF, WebP or PNG.

    Raises:
        VideoError: it cannot be read, or has a single frame.
    """

    colour = Colour(primaries=1, transfer=1)
    tick = MILLISECOND

    def __init__(self, path: str | Path) -> None:
        self.name, self._path = str(path), path
        with picture_as_video_errors(OTHER_ANIMATION), pictures.open_picture(path) as image:
            self.count = getattr(image, "n_frames", 1)
            if self.count < 2:
                raise VideoError("Choose a video or an animation, or take `python -m birefnet cut`",
                                 "got a still picture", path)
            self._gif = image.format == "GIF"
            self.height, self.width = image.height, image.width
            # A GIF stores the number of repetitions, and nothing if it is shown once; WebP and PNG store the
            # number of times that they are shown.
            loops = image.info.get("loop")
            self.plays = 1 if loops is None else loops + (self._gif and loops > 0)
            durations = []
            for index in range(self.count):
                image.seek(index)
                image.load()
                durations.append(self._duration(image.info.get("duration", 0)))
        self.rate = self.count / sum(durations)
        self.last = durations[-1]

    def __iter__(self) -> Iterator[tuple[Fraction, Tensor]]:
        time = Fraction(0)
        with picture_as_video_errors(OTHER_ANIMATION):
            for milliseconds, picture in pictures.read_frames(self._path):
                yield time, picture
                time += self._duration(milliseconds)

    def _duration(self, milliseconds: float) -> Fraction:
        """Seconds that a frame is shown."""
        short = SHORT_MILLISECONDS if self._gif else 0
        return (USUAL_MILLISECONDS if milliseconds <= short else round(milliseconds)) * MILLISECOND


@dataclass(frozen=True)
class AnimationFormat:
    """A kind of animated picture.

    Args:
        container, codec, pixels: FFmpeg's names.
        tick: its unit of time in seconds.
    """

    container: str
    codec: str
    pixels: str
    tick: Fraction


ANIMATIONS = {
    "gif": AnimationFormat("gif", "gif", "pal8", Fraction(1, 100)),
    "webp": AnimationFormat("webp", "libwebp_anim", "bgra", MILLISECOND),
    "apng": AnimationFormat("apng", "apng", "rgba", MILLISECOND),
}


class AnimationFile:
    """Writes an animated picture, losslessly except for a GIF's 256 colours and one bit of alpha.

    Args:
        path: the file.
        kind: one of ANIMATIONS.
        clip: gives size, rate, and how often the result is shown.
    """

    def __init__(self, path: Path, kind: str, clip: Clip) -> None:
        self._path, self._kind, self._form = path, kind, ANIMATIONS[kind]
        self._last = max(1, round(clip.last / self._form.tick))
        self._pts = -1
        options = {"loop": str(clip.plays)}
        if kind == "gif":
            options = {"loop": str(clip.plays - 1 if clip.plays else 0), "final_delay": str(self._last)}
            if clip.plays == 1:
                options["loop"] = "-1"  # store no number of repetitions
        elif kind == "apng":
            options = {"plays": str(clip.plays), "final_delay": f"{self._last}/1000"}
        self._container = pyav().open(str(path), "w", format=self._form.container, options=options)
        try:
            rate = clip.rate.limit_denominator(1001)
            self._stream = self._container.add_stream(self._form.codec, rate=rate)
            self._stream.height, self._stream.width = clip.height, clip.width
            self._stream.pix_fmt = self._form.pixels
            self._stream.options = {"lossless": "1"} if kind == "webp" else {}
            self._stream.time_base = self._stream.codec_context.time_base = self._form.tick
        except BaseException:
            self.abandon()
            raise

    def write(self, time: Fraction, picture: Tensor) -> None:
        """Write a picture [H,W,3], or [H,W,4] with straight alpha; a GIF leaves out frames beyond
        50 a second."""
        pts = max(round(time / self._form.tick), self._pts + 1)
        if self._kind == "gif" and 0 <= self._pts and pts < self._pts + GIF_TICKS:
            return
        levels = to_levels(picture)
        frame = self._palette(levels) if self._kind == "gif" else self._direct(levels)
        frame.time_base = self._form.tick
        frame.pts = self._pts = pts
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds, and close the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        if self._kind == "webp":
            _set_end(self._path, self._pts + self._last)

    def abandon(self) -> None:
        """Close the file without completing it."""
        with contextlib.suppress(Exception):
            self._container.close()

    def _direct(self, levels: np.ndarray):
        """A frame with alpha, in the format's order of channels."""
        if levels.shape[-1] == 3:
            levels = np.concatenate([levels, np.full_like(levels[..., :1], 255)], axis=-1)
        frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(levels), format="rgba")
        return frame if self._form.pixels == "rgba" else frame.reformat(format=self._form.pixels)

    def _palette(self, levels: np.ndarray):
        """A frame with a palette of its own: up to 255 colours, and a transparent one."""
        image = Image.fromarray(np.ascontiguousarray(levels[..., :3])).quantize(CLEAR)
        indices = np.array(image)
        colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:CLEAR]
        palette = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue
        palette[:CLEAR, 0] = 255
        palette[:len(colours), 1:] = colours
        if levels.shape[-1] == 4:
            indices[levels[..., 3] < OPAQUE * 255] = CLEAR
        return pyav().VideoFrame.from_ndarray((indices, palette), format="pal8")


def _set_end(path: Path, end: int) -> None:
    """Set the duration of a WebP's last frame, which FFmpeg sets to the mean of the others.

    The file is a list of chunks (name, length, data padded to even length) behind 12 bytes; a frame's chunk
    ANMF has the duration, in milliseconds, in bytes 12 to 14 of its data. FFmpeg merges equal frames, so the
    last chunk may start before the last frame that was written.

    Args:
        end: when the last frame ends, in milliseconds.
    """
    with open(path, "r+b") as file:
        place, last, shown = 12, None, 0
        file.seek(place)
        while len(header := file.read(8)) == 8:
            if header[:4] == b"ANMF":
                end -= shown
                last = place + 8 + 12
                shown = int.from_bytes(file.read(16)[12:15], "little")
            length = struct.unpack("<I", header[4:])[0]
            place += 8 + length + length % 2
            file.seek(place)
        if last is not None:  # a single frame is a still picture
            file.seek(last)
            file.write(max(end, 1).to_bytes(3, "little"))
