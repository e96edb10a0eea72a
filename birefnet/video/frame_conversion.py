"""Convert between FFmpeg's frames and upright pictures, float [H,W,C]."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .colour import Colour, from_rgb, to_rgb
from .library import pyav

if TYPE_CHECKING:
    from av import VideoFormat, VideoFrame, VideoStream

FULL_RANGE = 2  # AVCOL_RANGE_JPEG; 1 is AVCOL_RANGE_MPEG, the limited range


def colour_of(frame: VideoFrame, stream: VideoStream) -> Colour:
    """The colour description of a stream's frame. RGB sources are written as limited-range BT.709."""
    context = stream.codec_context
    primaries, transfer = int(context.color_primaries), int(context.color_trc)
    if _stored_as_rgb(frame.format):
        return Colour(primaries=primaries, transfer=transfer)
    marked, name = int(frame.color_range), frame.format.name
    # As in FFmpeg, grey without a mark is full range.
    full = marked == FULL_RANGE or name.startswith("yuvj") or (name.startswith("gray") and not marked)
    return Colour(int(frame.colorspace), primaries, transfer, full).resolve(frame.height)


def unpack(frame: VideoFrame, colour: Colour) -> Tensor:
    """Convert a frame to RGB, without its rotation: float32 [H,W,C] in 0..1; C is 3, or 4 with alpha."""
    kind = frame.format
    bits = kind.components[0].bits
    if _stored_as_rgb(kind):
        alpha = kind.has_palette or any(part.is_alpha for part in kind.components)
        name = ("rgba" if alpha else "rgb24") if bits <= 8 else ("rgba64le" if alpha else "rgb48le")
        pixels = frame.to_ndarray(format=name)
        return torch.from_numpy(pixels.astype(np.float32) / np.iinfo(pixels.dtype).max)
    if not _planar(kind):  # nv12, yuyv422, p010le, big endian: the same samples in other orders
        alpha = "a" if any(part.is_alpha for part in kind.components) else ""
        frame = frame.reformat(format=f"yuv{alpha}444p" if bits == 8 else f"yuv{alpha}444p16le")
        kind, bits = frame.format, frame.format.components[0].bits
    return to_rgb([_plane(frame, i, bits) for i in range(len(kind.components))], bits, colour)


def pack(picture: Tensor, name: str, colour: Colour) -> VideoFrame:
    """Convert a picture [H,W,3 or 4] in 0..1 to a tagged frame.

    name: its pixel format: yuv420p, yuv420p10le, yuva420p or yuva444p10le.
    """
    bits = 10 if "10" in name else 8
    height, width = picture.shape[:2]
    frame = pyav().VideoFrame(width, height, name)
    for plane, codes in zip(frame.planes, from_rgb(picture, bits, colour, halved="420" in name)):
        rows, columns = codes.shape
        codes = codes.cpu().numpy()
        room = np.frombuffer(plane, codes.dtype).reshape(-1, plane.line_size // codes.itemsize)
        room[:rows, :columns] = codes
    tag(frame, colour)
    return frame


def tag(target: object, colour: Colour) -> None:
    """Set the colour description of a frame or an encoder. (Frames have primaries from PyAV 15 on.)"""
    target.colorspace, target.color_range = colour.matrix, FULL_RANGE if colour.full else 1
    if hasattr(target, "color_primaries"):
        target.color_primaries, target.color_trc = colour.primaries, colour.transfer


def orientation(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The signs (a, b, c, d) of the display matrix, which moves column x, row y to (a x + c y, b x + d y).

    Call it once for a stream: in PyAV, a frame and its side data reference each other, which delays freeing
    it.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
    if abs(a) + abs(d) < abs(b) + abs(c):
        return 0, _sign(b), _sign(c), 0
    return _sign(a), 0, 0, _sign(d)


def turn(picture: Tensor, signs: tuple[int, int, int, int]) -> Tensor:
    """Turn and mirror a picture [H,W,C] as `orientation` says, without resampling."""
    a, b, c, d = signs
    if b or c:
        picture, a, d = picture.transpose(0, 1), c, b
    flipped = [dim for dim, sign in ((1, a), (0, d)) if sign < 0]
    return picture.flip(flipped) if flipped else picture


def _sign(value: int) -> int:
    return -1 if value < 0 else 1


def _stored_as_rgb(kind: VideoFormat) -> bool:
    return kind.is_rgb or kind.has_palette


def _planar(kind: VideoFormat) -> bool:
    """Whether each component has its own plane, in the machine's byte order."""
    return not kind.is_big_endian and len({part.plane for part in kind.components}) == len(kind.components)


def _plane(frame: VideoFrame, index: int, bits: int) -> Tensor:
    """The codes of one component, [h,w]."""
    plane, part = frame.planes[index], frame.format.components[index]
    dtype = np.uint8 if bits <= 8 else np.uint16
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype().itemsize)
    rows = rows[:part.height, :part.width]
    return torch.from_numpy(rows.copy() if bits <= 8 else rows.astype(np.int32))
