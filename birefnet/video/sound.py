"""Sound: packets are copied if the container can hold their codec, else decoded and encoded again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from .library import pyav

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

log = logging.getLogger(__name__)

BLOCK_SAMPLES = 8192   # per frame of a waveform
DEFAULT_RATE = 48_000  # hertz; all encoders and players support it, and many players no other for Opus
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


@dataclass(frozen=True)
class SoundCodecs:
    """A container's sound codecs: those that are copied, and the encoder for all other sound."""

    copied: frozenset[str]
    encoder: str


class Source(Protocol):
    """The sound of a clip."""

    def add_to(self, output: OutputContainer, codecs: SoundCodecs) -> Iterator[tuple[float, Packet]]:
        """Add its tracks to `output`, then yield (seconds, packet) in order."""


class SoundMuxer:
    """Muxes a source's packets in step with the pictures, so that players find both close together."""

    def __init__(self, source: Source, output: OutputContainer, codecs: SoundCodecs) -> None:
        self._output = output
        self._packets = source.add_to(output, codecs)
        self._next = None

    def write_until(self, seconds: float) -> None:
        """Write everything up to a time."""
        self._next = self._next or next(self._packets, None)
        while self._next and self._next[0] <= seconds:
            self._output.mux(self._next[1])
            self._next = next(self._packets, None)


@dataclass
class FileSound:
    """All sound tracks of a file.

    Args:
        open: opens it.
        window: (begin, end) of the part that is read, in seconds.
        origin: the time, in seconds, that becomes 0.
    """

    open: Callable[[], InputContainer]
    window: tuple[float, float]
    origin: Fraction

    def add_to(self, output: OutputContainer, codecs: SoundCodecs) -> Iterator[tuple[float, Packet]]:
        container = self.open()
        tracks = {}
        for stream in container.streams.audio:
            try:
                # Not codec.name, which is the decoder's (mp3float).
                if stream.codec_context.codec.canonical_name in codecs.copied:
                    tracks[stream] = CopiedTrack(output.add_stream_from_template(stream), self.origin)
                else:
                    tracks[stream] = EncodedTrack(output, codecs.encoder, stream, self.origin)
            except (AttributeError, ValueError, OSError) as error:
                log.warning("BiRef: a sound track was left out: this build of PyAV cannot decode it (%s)",
                            error)
        return self._packets(container, tracks)

    def _packets(self, container: InputContainer, tracks: dict) -> Iterator[tuple[float, Packet]]:
        """Yield (seconds, packet) of all tracks in the window, then close the container."""
        start, stop = self.window
        with container:
            if start:
                container.seek(int(start * pyav().time_base))
            for packet in container.demux(*tracks) if tracks else ():
                if packet.pts is None:
                    continue
                time = float(packet.pts * packet.time_base)
                if time >= stop:
                    break
                if time >= start or not start:  # at the file's start, decoders need packets before 0
                    yield from with_times(tracks[packet.stream].packets(packet))
            for track in tracks.values():
                yield from with_times(track.flush())


class CopiedTrack:
    """Copies packets with shifted times; decoding times are made to increase, as containers require."""

    def __init__(self, stream: AudioStream, origin: Fraction) -> None:
        self.stream, self.origin, self.last = stream, origin, None

    def packets(self, packet: Packet) -> list[Packet]:
        """Shift a packet's times, in place."""
        shift = round(self.origin / packet.time_base)
        packet.stream = self.stream
        pts, dts = packet.pts - shift, (packet.pts if packet.dts is None else packet.dts) - shift
        self.last = dts if self.last is None else max(dts, self.last + 1)
        packet.pts, packet.dts = max(pts, self.last), self.last
        return [packet]

    def flush(self) -> list[Packet]:
        return []


class EncodedTrack:
    """Decodes packets, and encodes them with another codec, resampled to its rate and sample format.

    Times are counted in samples and never decrease: some files (AVI) have times that are rounded to packets,
    which encoders refuse.
    """

    def __init__(self, output: OutputContainer, encoder: str, stream: AudioStream, origin: Fraction) -> None:
        self.origin, self.end = origin, None
        context = stream.codec_context
        self.stream = new_track(output, encoder, context.sample_rate, context.layout.nb_channels)

    def packets(self, packet: Packet) -> list[Packet]:
        """Encode a packet again; a damaged one is left out."""
        made = []
        try:
            for frame in packet.decode():
                made += self.stream.encode(self.set_times(frame))
        except pyav().error.InvalidDataError:
            log.warning("BiRef: a damaged piece of the sound was left out")
        return made

    def set_times(self, frame: AudioFrame) -> AudioFrame:
        """Set a frame's time in samples from the origin, not before the end of the previous frame."""
        tick = Fraction(1, frame.sample_rate)
        start = self.end if frame.pts is None else round((frame.pts * frame.time_base - self.origin) / tick)
        if self.end is not None:
            start = max(start, self.end)
        frame.pts, frame.time_base = start, tick
        self.end = None if start is None else start + frame.samples
        return frame

    def flush(self) -> list[Packet]:
        """The packets that the encoder still holds."""
        return self.stream.encode(None)


@dataclass
class Waveform:
    """Sound in memory, [1,channels,samples] in −1..1 at `rate` hertz. If LAYOUTS lacks its number of
    channels, the first two are used."""

    waveform: Tensor
    rate: int

    def add_to(self, output: OutputContainer, codecs: SoundCodecs) -> Iterator[tuple[float, Packet]]:
        samples = self.waveform[0].float().cpu()
        samples = samples if len(samples) in LAYOUTS else samples[:2]
        return with_times(self._packets(samples, new_track(output, codecs.encoder, self.rate, len(samples))))

    def _packets(self, samples: Tensor, stream: AudioStream) -> Iterator[Packet]:
        """Encode samples [channels,N] in blocks."""
        for start in range(0, samples.shape[1], BLOCK_SAMPLES):
            block = samples[:, start:start + BLOCK_SAMPLES].contiguous().numpy()
            frame = pyav().AudioFrame.from_ndarray(block, format="fltp", layout=LAYOUTS[len(samples)])
            frame.sample_rate, frame.pts, frame.time_base = self.rate, start, Fraction(1, self.rate)
            yield from stream.encode(frame)
        yield from stream.encode(None)


def new_track(output: OutputContainer, encoder: str, rate: int, channels: int) -> AudioStream:
    """Add a track to `output`, at the sound's own rate if the encoder supports it, else at DEFAULT_RATE."""
    kept = encoder != "libopus" and rate in pyav().Codec(encoder, "w").audio_rates
    layout = LAYOUTS.get(channels, "stereo")
    return output.add_stream(encoder, rate=rate if kept else DEFAULT_RATE, layout=layout)


def with_times(packets: Iterable[Packet]) -> Iterator[tuple[float, Packet]]:
    """Yield (seconds, packet) for the packets that are not empty."""
    return ((float((packet.pts or 0) * packet.time_base), packet) for packet in packets if packet.size)
