"""Check that a video file is complete: containers state their length, but FFmpeg accepts truncated files
silently."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # element IDs of Matroska (RFC 8794, RFC 9559)
# A file of ISO 14496-12 consists of these boxes.
BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"sidx", b"styp", b"uuid",
         b"pnot", b"udta", b"meta", b"pdin", b"emsg", b"prft", b"ssix"}


def missing_bytes(source: str | Path | io.BytesIO) -> int:
    """Count the bytes that a Matroska, WebM, MP4 or MOV file lacks at its end, by its own headers.

    Args:
        source: a file's path, or its content.

    Returns:
        Bytes; 0 for a complete file, for other formats, and for a file that cannot be read.
    """
    if isinstance(source, io.BytesIO):
        with source.getbuffer() as content:
            return _count_missing(io.BytesIO(content))
    try:
        with open(source, "rb") as file:
            return _count_missing(file)
    except OSError:  # reported when it is opened to decode
        return 0


def _count_missing(file: BinaryIO) -> int:
    """`missing_bytes` of an open file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(4) == EBML:
        return max(0, _end_of_segment(file, size) - size)
    return max(0, _end_of_boxes(file, size) - size)


def _end_of_segment(file: BinaryIO, size: int) -> int:
    """The offset at which the EBML header and the first segment end; `size` if the segment has no length."""
    length, width = _number(file)
    place = 4 + width + (length or 0)
    file.seek(place)
    if length is None or file.read(4) != SEGMENT:
        return size
    length, width = _number(file)
    return size if length is None else place + 4 + width + length


def _number(file: BinaryIO) -> tuple[int | None, int]:
    """Read an EBML variable-size integer, None if all its bits are set (unknown), and its width in bytes."""
    first = file.read(1)
    if not first or not first[0]:
        return None, 1
    width = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """The offset at which the last top-level box ends; `size` if the file is no list of boxes."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        if kind not in BOXES:
            return size  # another format, or padding at the end
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length < 8:
            return size  # 0: to the end of the file
        place += length
    return place
