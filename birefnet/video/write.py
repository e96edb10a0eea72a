"""Write results (video files, animated pictures, folders of pictures) atomically."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from ..files.atomic import atomic_write
from ..files.errors import VideoError
from ..imaging import pictures
from .animation import ANIMATIONS, AnimationFile
from .frame_conversion import pack, tag
from .library import pyav
from .read import Clip
from .sound import SoundCodecs, SoundMuxer

QUALITIES = ("high", "medium", "small")
# For shorter clips x265 reads decoding times from uninitialised memory; their frames are all in order.
ORDERED_FRAMES = 3
MAX_RATE_DENOMINATOR = 1001  # of a mean rate, such as 30000/1001


@dataclass(frozen=True)
class Format:
    """A kind of video file.

    Args:
        suffix: of file names.
        container, codec: FFmpeg's names.
        pixels: FFmpeg's pixel format with 8 bits, or "".
        sound: its codecs.
        options: the encoder's, by quality.
        even: whether height and width must be even.
        tick: the container's unit of time in seconds, if it is fixed.
        deep: FFmpeg's pixel format with 10 bits, or "" if there is one with 8.
        tag: the codec's FourCC, if players do not know FFmpeg's default.
    """

    suffix: str
    container: str
    codec: str
    pixels: str
    sound: SoundCodecs
    options: Mapping[str, dict[str, str]]
    even: bool = False
    tick: Fraction | None = None
    deep: str = ""
    tag: str = ""

    @property
    def alpha(self) -> bool:
        return "yuva" in self.pixels + self.deep

    def bits(self, source: int) -> int:
        """Bits per sample for a source with `source` bits."""
        return 10 if self.deep and (source > 8 or not self.pixels) else 8

    def pixels_for(self, source: int) -> str:
        """FFmpeg's pixel format for a source with `source` bits."""
        return self.deep if self.bits(source) > 8 else self.pixels


def _each(values: tuple[str, str, str], **common: str) -> dict[str, dict[str, str]]:
    """Encoder options by quality, which differ in crf (`values`)."""
    return {quality: {"crf": value, **common} for quality, value in zip(QUALITIES, values)}


MP4_SOUND = SoundCodecs(frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"}), "aac")
FORMATS = {
    "h264": Format(".mp4", "mp4", "libx264", "yuv420p", MP4_SOUND,
                   _each(("16", "21", "27"), preset="medium"), even=True),
    "h265": Format(".mp4", "mp4", "libx265", "yuv420p", MP4_SOUND,
                   _each(("18", "23", "29"), preset="medium", **{"x265-params": "log-level=error"}),
                   even=True, deep="yuv420p10le", tag="hvc1"),
    "av1": Format(".mp4", "mp4", "libsvtav1", "yuv420p", MP4_SOUND,
                  _each(("20", "30", "42"), preset="8"), even=True, deep="yuv420p10le"),
    "vp9": Format(".webm", "webm", "libvpx-vp9", "yuva420p",
                  SoundCodecs(frozenset({"opus", "vorbis"}), "libopus"),
                  # b 0: constant quality. libvpx supports no alternate reference frames with alpha.
                  _each(("18", "28", "38"), **{"b": "0", "auto-alt-ref": "0", "row-mt": "1",
                                               "deadline": "good", "cpu-used": "3"}), tick=Fraction(1, 1000)),
    "prores": Format(".mov", "mov", "prores_ks", "",
                     SoundCodecs(frozenset({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le",
                                            "pcm_s16be", "pcm_s24be"}), "aac"),
                     {quality: {"profile": "4444", "vendor": "apl0", "alpha_bits": bits}
                      for quality, bits in zip(QUALITIES, ("16", "16", "8"))}, deep="yuva444p10le"),
}


class Writer(Protocol):
    """Takes the pictures of a result, in order of time."""

    def write(self, time: Fraction, picture: Tensor) -> None:
        """Write a picture [H,W,3], or [H,W,4] with straight alpha.

        Args:
            time: when it is shown, in seconds from the start.
            picture: float in 0..1.
        """


class FileWriter(Writer, Protocol):
    """Writes one file or folder, which is complete after `finish`."""

    def finish(self) -> None:
        """Write what is left, and close."""

    def abandon(self) -> None:
        """Close without completing; `writing` deletes what was written."""


class VideoFile:
    """Writes a video file.

    Args:
        path: the file.
        shape: the kind of file.
        clip: gives size, rate, colours, bits and sound.
        quality: one of QUALITIES.
        notes: the file's metadata.
    """

    def __init__(self, path: Path, shape: Format, clip: Clip, quality: str, notes: Mapping[str, object]
                 ) -> None:
        self.shape, self.tick = shape, shape.tick or clip.tick
        # ProRes has limited range only.
        self.colour = replace(clip.colour, full=False) if shape.codec == "prores_ks" else clip.colour
        self.pixels = shape.pixels_for(clip.bits)
        flags = {"movflags": "use_metadata_tags+faststart"} if shape.container in ("mp4", "mov") else {}
        self._container = pyav().open(str(path), "w", format=shape.container, options=flags)
        try:
            for name, value in notes.items():
                self._container.metadata[name] = value if isinstance(value, str) else json.dumps(value)
            self._stream = self._video_stream(clip, quality)
            source = clip.sound()
            self._sound = source and SoundMuxer(source, self._container, shape.sound)
        except BaseException:
            self.abandon()
            raise
        self._last, self._count = -1, 0

    def _video_stream(self, clip: Clip, quality: str):
        """Add the video stream to the container."""
        rate = clip.rate.limit_denominator(MAX_RATE_DENOMINATOR)
        stream = self._container.add_stream(self.shape.codec, rate=rate)
        pad = 2 if self.shape.even else 1
        stream.height, stream.width = (math.ceil(side / pad) * pad for side in (clip.height, clip.width))
        stream.pix_fmt = self.pixels
        stream.options = self.shape.options[quality]
        stream.thread_type = "AUTO"
        stream.time_base = stream.codec_context.time_base = self.tick
        stream.codec_context.sample_aspect_ratio = clip.aspect
        if self.shape.tag:
            stream.codec_context.codec_tag = self.shape.tag
        tag(stream.codec_context, self.colour)
        return stream

    def write(self, time: Fraction, picture: Tensor) -> None:
        """Write a picture [H,W,3], or [H,W,4] if the format has alpha; odd sides repeat the edge if they must
        be even."""
        if self.shape.even:
            height, width = picture.shape[:2]
            padding = (0, width % 2, 0, height % 2)
            if any(padding):
                picture = F.pad(picture.movedim(-1, 0)[None], padding, mode="replicate")[0].movedim(0, -1)
        frame = pack(picture, self.pixels, self.colour)
        frame.time_base = self.tick
        frame.pts = self._last = max(round(time / self.tick), self._last + 1)
        self._count += 1
        with keep_scheduling():
            packets = self._stream.encode(frame)
        self._container.mux(packets)
        if self._sound:
            self._sound.write_until(float(time))

    def finish(self) -> None:
        """Write what the encoder still holds and the remaining sound, and close the file."""
        for packet in self._stream.encode(None):
            if self._count < ORDERED_FRAMES and packet.size:
                packet.dts = packet.pts
            self._container.mux(packet)
        if self._sound:
            self._sound.write_until(math.inf)
        self._container.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        with contextlib.suppress(Exception):  # such as a full disk; `writing` deletes the file
            self._container.close()


@contextlib.contextmanager
def keep_scheduling() -> Iterator[None]:
    """Restore the thread's scheduling policy: as root, SVT-AV1 makes the thread that opens it a real-time
    one, which would starve all other programs."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


class PictureFolder:
    """Writes a folder of PNG files (00001.png, ...)."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def write(self, time: Fraction, picture: Tensor) -> None:
        """Write a picture [H,W,3], or [H,W,4] with straight alpha."""
        self.count += 1
        pictures.write(self.path / f"{self.count:05}.png", picture[None])

    def finish(self) -> None:
        """Do nothing: each picture is complete when it is written."""

    def abandon(self) -> None:
        """Do nothing: no file is open."""


@contextlib.contextmanager
def writing(
    path: str | Path,
    clip: Clip,
    kind: str,
    *,
    quality: str = QUALITIES[0],
    notes: Mapping[str, object] | None = None,
) -> Iterator[Writer]:
    """Open a video for writing, with a clip's rate, colours and sound.

    Used as a context. An error or an interrupt in its body leaves no file behind.

    Args:
        path: the file or, for "png", the folder.
        clip: the source.
        kind: one of `FORMATS`; without sound one of `ANIMATIONS`, or "png" for a folder of pictures.
        quality: one of QUALITIES, for `FORMATS`.
        notes: metadata of the file, for `FORMATS`.

    Raises:
        VideoError: `path` cannot be written.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        with _explain_errors(path):
            part = stack.enter_context(atomic_write(path, folder=kind == "png"))
            writer = _open_writer(part.path, clip, kind, quality, notes or {})
        try:
            yield _ExplainingWriter(writer, path)
            with _explain_errors(path):
                writer.finish()
                part.keep()
        except BaseException:
            writer.abandon()
            raise


def _open_writer(path: Path, clip: Clip, kind: str, quality: str, notes: Mapping[str, object]) -> FileWriter:
    """The writer of a kind of file; arguments as for `writing`."""
    if kind == "png":
        return PictureFolder(path)
    if kind in ANIMATIONS:
        return AnimationFile(path, kind, clip)
    return VideoFile(path, FORMATS[kind], clip, quality, notes)


class _ExplainingWriter:
    """Converts a writer's errors to VideoError; `path` is the file that they name."""

    def __init__(self, writer: Writer, path: Path) -> None:
        self._writer, self._path = writer, path

    def write(self, time: Fraction, picture: Tensor) -> None:
        with _explain_errors(self._path):
            self._writer.write(time, picture)


@contextlib.contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    """Convert errors of PyAV and the system to VideoError."""
    try:
        yield
    except VideoError:
        raise
    except (pyav().error.FFmpegError, OSError, ValueError) as error:  # ValueError: PyAV lacks the encoder
        cause = getattr(error, "strerror", None) or error
        action = ("Write it elsewhere or free disk space" if isinstance(error, OSError) else
                  "Choose another format or quality")
        raise VideoError(action, f"cannot be written ({cause})", path) from error
