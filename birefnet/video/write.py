"""Results: video files and folders of pictures, which appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from ..files.atomic import atomic_write
from ..imaging import pictures
from .frames import pack, tag
from .library import VideoError, pyav
from .read import Clip
from .sound import Kinds, Track

QUALITIES = ("high", "medium", "small")
MOST_PRECISE_RATE = 1001  # denominator of a mean rate: 30000/1001 and the like


@dataclass(frozen=True)
class Format:
    """One kind of video file. options: the encoder's, by quality. even: whether sides must be. tick: the container's
    unit of time, if it has one."""

    suffix: str
    container: str
    codec: str
    pixels: str
    sound: Kinds
    options: Mapping[str, dict[str, str]]
    even: bool = False
    tick: Fraction | None = None

    @property
    def alpha(self) -> bool:
        return "yuva" in self.pixels


def _each(values: tuple[str, str, str], **common: str) -> dict[str, dict[str, str]]:
    """{quality: options}, of which crf differs."""
    return {quality: {"crf": value, **common} for quality, value in zip(QUALITIES, values)}


FORMATS = {
    "h264": Format(".mp4", "mp4", "libx264", "yuv420p",
                   Kinds(frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"}), "aac"),
                   _each(("16", "21", "27"), preset="medium"), even=True),
    "vp9": Format(".webm", "webm", "libvpx-vp9", "yuva420p",
                  Kinds(frozenset({"opus", "vorbis"}), "libopus"),
                  # b 0: quality alone decides. libvpx refuses alternate references beside alpha.
                  _each(("18", "28", "38"), **{"b": "0", "auto-alt-ref": "0", "row-mt": "1", "deadline": "good",
                                               "cpu-used": "3"}), tick=Fraction(1, 1000)),
    "prores": Format(".mov", "mov", "prores_ks", "yuva444p10le",
                     Kinds(frozenset({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"}),
                           "aac"),
                     {quality: {"profile": "4444", "vendor": "apl0", "alpha_bits": bits}
                      for quality, bits in zip(QUALITIES, ("16", "16", "8"))}),
}


class VideoFile:
    """A video file being written; times must grow."""

    def __init__(self, path: Path, shape: Format, clip: Clip, quality: str, notes: Mapping[str, object]) -> None:
        self.shape, self.tick = shape, shape.tick or clip.tick
        # Apple's ProRes has limited range only.
        self.colour = replace(clip.colour, full=False) if shape.codec == "prores_ks" else clip.colour
        flags = {"movflags": "use_metadata_tags+faststart"} if shape.container in ("mp4", "mov") else {}
        self._container = pyav().open(str(path), "w", format=shape.container, options=flags)
        try:
            for name, value in notes.items():
                self._container.metadata[name] = value if isinstance(value, str) else json.dumps(value)
            self._stream = self._video_stream(clip, quality)
            source = clip.sound()
            self._sound = source and Track(source, self._container, shape.sound)
        except BaseException:
            self.abandon()
            raise
        self._last = -1

    def _video_stream(self, clip: Clip, quality: str):
        stream = self._container.add_stream(self.shape.codec, rate=clip.rate.limit_denominator(MOST_PRECISE_RATE))
        pad = 2 if self.shape.even else 1
        stream.height, stream.width = (math.ceil(side / pad) * pad for side in (clip.height, clip.width))
        stream.pix_fmt = self.shape.pixels
        stream.options = self.shape.options[quality]
        stream.thread_type = "AUTO"
        stream.time_base = stream.codec_context.time_base = self.tick
        stream.codec_context.sample_aspect_ratio = clip.aspect
        tag(stream.codec_context, self.colour)
        return stream

    def write(self, time: Fraction, picture: Tensor) -> None:
        """One picture [H,W,3], or 4 where the format has alpha. What H.264 lacks to even sides repeats the edge."""
        if self.shape.even:
            height, width = picture.shape[:2]
            padding = (0, width % 2, 0, height % 2)
            if any(padding):
                picture = F.pad(picture.movedim(-1, 0)[None], padding, mode="replicate")[0].movedim(0, -1)
        frame = pack(picture, self.shape.pixels, self.colour)
        frame.time_base = self.tick
        frame.pts = self._last = max(round(time / self.tick), self._last + 1)
        self._container.mux(self._stream.encode(frame))
        if self._sound:
            self._sound.until(float(time))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        if self._sound:
            self._sound.until(math.inf)
        self._container.close()

    def abandon(self) -> None:
        with contextlib.suppress(Exception):  # of a full disk, for one; the file is deleted in any case
            self._container.close()


class PictureFolder:
    """A folder of PNG files, 00001.png and so on, being written."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def write(self, time: Fraction, picture: Tensor) -> None:
        self.count += 1
        pictures.write(self.path / f"{self.count:05}.png", picture[None])

    def finish(self) -> None:
        pass

    abandon = finish


@contextlib.contextmanager
def writing(
    path: str | Path, clip: Clip, kind: str, *, quality: str = QUALITIES[0], notes: Mapping[str, object] | None = None
) -> Iterator[VideoFile | PictureFolder]:
    """Writes to `path` what a clip has become, with the clip's rate, times, colours and sound: `write(time, picture)`.

    kind: one of `FORMATS`, or "png" for a folder of pictures (without sound). notes: metadata of the file. An error in
    the body, an interrupt too, leaves nothing behind. Raises `VideoError` where `path` cannot be written.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        with _as_sentences(path):
            part = stack.enter_context(atomic_write(path, folder=kind == "png"))
            writer = PictureFolder(part.path) if kind == "png" else VideoFile(part.path, FORMATS[kind], clip, quality,
                                                                              notes or {})
        try:
            yield _Told(writer, path)
            with _as_sentences(path):
                writer.finish()
                part.keep()
        except BaseException:
            writer.abandon()
            raise


class _Told:
    """A writer whose errors are sentences."""

    def __init__(self, writer: VideoFile | PictureFolder, path: Path) -> None:
        self._writer, self._path = writer, path

    def write(self, time: Fraction, picture: Tensor) -> None:
        with _as_sentences(self._path):
            self._writer.write(time, picture)


@contextlib.contextmanager
def _as_sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except VideoError:
        raise
    except (pyav().error.FFmpegError, OSError, ValueError) as error:  # an encoder that this PyAV lacks is a ValueError
        raise VideoError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
