"""Clips made by PyAV alone, with every peculiarity that a camera or an editing program leaves in a file."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def pictures(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Smooth pictures [H,W,3] uint8, each with a brightness of its own: 40, 50, 60, … in the middle."""
    shade = np.linspace(-20, 20, width)[None, :, None] + np.linspace(-10, 10, height)[:, None, None]
    tint = np.array([1.0, 0.9, 1.1])
    return [((40 + 10 * i + shade) * tint).clip(0, 255).astype(np.uint8) for i in range(count)]


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The codes of a frame's components, [h,w] each; writing to them changes the frame."""
    found = []
    for plane, part in zip(frame.planes, frame.format.components):
        dtype = np.dtype(np.uint8 if part.bits <= 8 else np.uint16)
        found.append(np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)[:plane.height,
                                                                                                :plane.width])
    return found


def frames(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def sine(seconds: float, rate: int = 44100, channels: int = 2) -> np.ndarray:
    wave = 0.25 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def frequency(path: Path) -> float:
    """The loudest frequency of a file's first sound track."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=48000)
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0)
                 for part in resampler.resample(frame)]
    wave = np.concatenate(parts)
    return float(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * 48000 / len(wave))


def write(
    path: Path,
    images: Iterable[np.ndarray | av.VideoFrame],
    *,
    times: Sequence[int] | None = None,
    tick: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: str | None = None,
    seconds: float = 0.0,
    tags: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
    **container_options: str,
) -> Path:
    """A video of images, at `times` in ticks (0, 1, 2, …), with `seconds` of a 440 Hz tone in the codec
    `sound`."""
    images = list(images)
    with av.open(str(path), "w", options=container_options) as container:
        video = None
        if images:
            video = container.add_stream(codec, rate=Fraction(25))
            video.height, video.width = images[0].shape[:2] if isinstance(images[0], np.ndarray) else (
                images[0].height, images[0].width)
            video.pix_fmt, video.options = pixels, options or ({"crf": "12"} if codec == "libx264" else {})
            video.codec_context.time_base = video.time_base = tick
            for name, value in (tags or {}).items():
                setattr(video.codec_context, name, value)
        track = sound and container.add_stream(sound, rate=48000 if "opus" in sound else 44100,
                                               layout="stereo")
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image,
                                               format="rgb24") if isinstance(image, np.ndarray) else image
            frame.pts, frame.time_base = (times[i] if times else i), tick
            container.mux(video.encode(frame))
        if video:
            container.mux(video.encode(None))
        if track:
            tone = av.AudioFrame.from_ndarray(sine(seconds), format="fltp", layout="stereo")
            tone.sample_rate, tone.pts = 44100, 0
            container.mux(track.encode(tone))
            container.mux(track.encode(None))
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into the first track header of an MP4 (ISO 14496-12, 8.3.2), as cameras do."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start:start + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
