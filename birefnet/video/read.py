"""Read a video, from a file or from pictures in memory, as a sequence of upright pictures."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..files.errors import VideoError, why_not_read
from . import sound
from .colour import Colour
from .complete import missing_bytes
from .frame_conversion import colour_of, orientation, turn, unpack
from .library import pyav

if TYPE_CHECKING:
    from av import VideoFrame

log = logging.getLogger(__name__)

Source = str | Path | io.BytesIO

DEFAULT_RATE = Fraction(25)  # frames a second
MICROSECONDS = 10**6  # per second: resolution of start and duration, which come as floats
# FFmpeg's demuxers that may be used. Excluded are playlists (HLS, DASH, concat, SDP), which make FFmpeg open
# files at any address, and formats that are no video.
CONTAINERS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg",
              "mxf", "gif", "apng", "ivf", "h264", "hevc", "obu", "m4v", "mjpeg", "yuv4mpegpipe", "dv", "nut",
              "wtv", "rm", "mp3", "wav", "flac", "aac")
MAX_PIXELS = 1 << 26  # of a picture, as in 8192×8192; a damaged header may state any size
DECLARE_LENGTH = ("mov", "matroska")  # containers that state their length; a shorter file was cut off
MAX_MISSING_SECONDS, MAX_MISSING_SHARE = 0.5, 0.02  # at the end of a file that counts as complete; the larger

OTHER_VIDEO = "Choose another video"
COPY_AGAIN = "Copy it again, or save what is there with ffmpeg -i IN -c copy OUT"


class Clip:
    """A video to be matted: its pictures with their times, and the properties that the result keeps.

    Attributes:
        height, width: of the upright pictures, in pixels.
        aspect: width of a pixel divided by its height.
        colour: of the file's samples.
        rate: mean frames a second.
        tick: the unit of its times, in seconds.
        count: expected number of pictures, from the header, which may be wrong.
        bits: per sample.
        linear: whether values are linear light.
        last: seconds that the last picture is shown.
        plays: how often an animation is shown, 0 for endlessly.
    """

    height: int
    width: int
    aspect: Fraction = Fraction(1)
    colour: Colour
    rate: Fraction
    tick: Fraction
    count: int
    bits: int = 8
    linear: bool = False
    last: Fraction
    plays: int = 0

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *_) -> None:
        """Close what the clip reads from."""

    def __iter__(self) -> Iterator[tuple[Fraction, Tensor]]:
        """Yield (time in seconds from the start, picture float32 [H,W,C] in 0..1 with C 1, 3 or 4); a clip
        can be iterated once."""

    def sound(self) -> sound.Source | None:
        """Its sound, on the same clock; None if it has none."""
        return None


class VideoClip(Clip):
    """A clip from a file; a context manager.

    Rotation is applied, all pictures are resized to the first one's size, and times are the file's own,
    shifted to begin at 0.

    Args:
        source: the file's path, or its content.
        start, duration: the part to read, in seconds; duration 0 means to the end.

    Raises:
        VideoError: it cannot be read, has no picture, or ends earlier than its header states.
    """

    def __init__(self, source: Source, start: float = 0.0, duration: float = 0.0) -> None:
        self.name = "the video" if isinstance(source, io.BytesIO) else str(source)
        begin = Fraction(start).limit_denominator(MICROSECONDS)
        end = begin + Fraction(duration).limit_denominator(MICROSECONDS) if duration else float("inf")
        self._source, self._window = source, (begin, end)
        if missing := missing_bytes(source):
            raise VideoError(COPY_AGAIN, f"cut off: its last {missing} bytes are missing", self.name)
        self._container = open_container(source)
        try:
            self._begin()
        except BaseException:
            self._container.close()
            raise

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    @property
    def duration(self) -> float:
        """Seconds, according to the header."""
        return (self._container.duration or 0) / pyav().time_base

    def _begin(self) -> None:
        """Decode up to the first picture, which has properties that the header lacks."""
        shown = [stream for stream in self._container.streams.video if not is_cover(stream)]
        if not shown:
            only = "only sound" if self._container.streams.audio else "nothing to see"
            raise VideoError(OTHER_VIDEO, f"expected a video, but there is {only} in it", self.name)
        self._stream = shown[0]
        if self._stream.codec_context is None:
            raise VideoError("Convert it to H.264 or choose another video",
                             "its pictures are in a format that this build of PyAV cannot decode", self.name)
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self._stream.thread_type = "AUTO"
        self.rate = self._stream.average_rate or self._stream.guessed_rate or DEFAULT_RATE
        self.last = 1 / self.rate
        self.tick = self._stream.time_base
        start, stop = self._window
        if start:
            self._container.seek(int(start / self.tick), stream=self._stream)
        frames = self._frames()
        first = next(frames, None)
        if first is None:
            part = f" between {float(start):g} and {float(stop):g} s" if start or stop < float("inf") else ""
            raise VideoError(OTHER_VIDEO, f"expected a video, but there is no picture in it{part}", self.name)
        self._pictures = itertools.chain([first], frames)
        time, frame = first
        header = self._container.start_time
        self._origin = start or min(time, Fraction(header or 0, pyav().time_base))
        self.colour, self.bits = colour_of(frame, self._stream), frame.format.components[0].bits
        self.height, self.width = self._stored = frame.height, frame.width
        self.aspect = self._stream.sample_aspect_ratio or Fraction(1)
        self._turn = orientation(frame)
        if self._turn[0] == 0:
            self.height, self.width, self.aspect = self.width, self.height, 1 / self.aspect
        self.count = self._estimate_count()

    def __iter__(self) -> Iterator[tuple[Fraction, Tensor]]:
        for time, frame in self._pictures:
            if (frame.height, frame.width) != self._stored:  # joined files and recorded calls change size
                frame = frame.reformat(width=self._stored[1], height=self._stored[0], interpolation="BICUBIC")
            yield time - self._origin, turn(unpack(frame, self.colour), self._turn)

    def sound(self) -> sound.Source | None:
        if not self._container.streams.audio:
            return None
        return sound.FileSound(lambda: open_container(self._source), self._window, self._origin)

    def _estimate_count(self) -> int:
        """Number of pictures, according to the header."""
        start, stop = self._window
        if not start and stop == float("inf") and self._stream.frames:
            return self._stream.frames
        return max(1, round((min(stop, self.duration) - start) * self.rate))

    def _frames(self) -> Iterator[tuple[Fraction, VideoFrame]]:
        """Yield (the file's own time, frame) in the window. Damaged frames are left out, so the previous one
        is shown longer."""
        damaged, time, (start, stop) = 0, None, self._window
        for packet in self._packets():
            try:
                decoded = self._decode(packet)
            except pyav().error.InvalidDataError:
                damaged += 1
                continue
            except pyav().error.FFmpegError as error:  # the decoder rejects the header
                raise VideoError(OTHER_VIDEO, f"its pictures cannot be decoded ({error.strerror})", self.name
                                 ) from None
            for frame in decoded:
                time = self._time(frame, time)
                if time >= stop:
                    return
                if time >= start or not start:  # without a window, frames before 0 count too
                    yield time, frame
        if damaged:
            log.warning("BiRef: %s: %d damaged pictures were left out", self.name, damaged)

    def _packets(self):
        """Yield the pictures' packets; raise VideoError if the file is shorter than its header states."""
        reached, damage = 0.0, (pyav().error.InvalidDataError, OSError)
        try:
            for packet in self._container.demux():
                if packet.pts is not None:
                    reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream == self._stream:
                    yield packet
        except damage as error:
            raise VideoError(COPY_AGAIN, f"damaged after {reached:.1f} s ({error.strerror})", self.name
                             ) from None
        length = self.duration + (self._container.start_time or 0) / pyav().time_base
        declared = any(name in self._container.format.name for name in DECLARE_LENGTH)
        if declared and length - reached > max(MAX_MISSING_SECONDS, MAX_MISSING_SHARE * length):
            raise VideoError(COPY_AGAIN, f"cut off: it ends after {reached:.1f} s of {length:.1f} s",
                             self.name)

    def _decode(self, packet):
        """Decode a packet to frames, with the alpha that VP8 and VP9 store beside the colours."""
        if "vp" not in self._stream.codec_context.name or self._stream.metadata.get("alpha_mode") != "1":
            return packet.decode()
        if not hasattr(self, "_libvpx"):
            name = "libvpx-vp9" if "vp9" in self._stream.codec_context.name else "libvpx"
            self._libvpx = pyav().CodecContext.create(name, "r")
        return self._libvpx.decode(packet if packet.size else None)

    def _time(self, frame: VideoFrame, before: Fraction | None) -> Fraction:
        """A frame's time; if it has none, one frame's duration after the time `before`."""
        if frame.pts is not None:
            return frame.pts * frame.time_base
        return Fraction(0) if before is None else before + 1 / self.rate


@dataclass
class TensorClip(Clip):
    """A clip of images in memory.

    Args:
        images: float [B,H,W,C] in 0..1.
        rate: frames a second.
        waveform: the sound [1,channels,samples] in −1..1, or None.
        sample_rate: of the sound, in hertz.

    Raises:
        VideoError: there is no image, or the rate is not above 0.
    """

    images: Tensor
    rate: Fraction
    waveform: Tensor | None = None
    sample_rate: int = 0

    def __post_init__(self) -> None:
        self.count, self.height, self.width = self.images.shape[:3]
        if not self.count:
            raise VideoError("Choose at least one picture", "expected a video, but there is no picture in it")
        self.colour = Colour(primaries=1, transfer=1)
        self.rate = Fraction(self.rate).limit_denominator(1001)
        if self.rate <= 0:
            raise VideoError("Set a frame rate above 0", f"got {float(self.rate):g} pictures a second")
        self.tick = self.last = 1 / self.rate

    def __iter__(self) -> Iterator[tuple[Fraction, Tensor]]:
        for i in range(self.count):
            yield i * self.tick, self.images[i]

    def sound(self) -> sound.Source | None:
        return None if self.waveform is None else sound.Waveform(self.waveform, self.sample_rate)


def open_container(source: Source):
    """Open a file with PyAV; raises VideoError."""
    av = pyav()
    # Two readers of one buffer (pictures and sound) need a position each; the bytes themselves are shared.
    source = io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else str(source)
    name = source if isinstance(source, str) else "the video"
    try:
        # "replace": tags of old cameras are in any encoding, and not used here.
        options = {"format_whitelist": ",".join(CONTAINERS)}
        return av.open(source, container_options=options, metadata_errors="replace")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise VideoError(OTHER_VIDEO, why_not_read(error, "a video file"), name) from None
    except (av.error.FFmpegError, OSError) as error:
        with contextlib.suppress(OSError):
            if isinstance(source, str) and Path(source).stat().st_size == 0:
                raise VideoError("Copy it again or choose another video", "the file is empty", name) from None
        raise VideoError(OTHER_VIDEO, "expected a video, got something else or a file that is cut off or "
                                      f"damaged ({error.strerror})", name) from None


def is_cover(stream) -> bool:
    """Whether a picture stream is a sound file's cover."""
    return bool(stream.disposition & pyav().stream.Disposition.attached_pic)
