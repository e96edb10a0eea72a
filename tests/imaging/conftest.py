"""Colour profiles made by hand, each with an effect that cannot be missed, and 16-bit PNG, which Pillow
cannot write."""

from __future__ import annotations

import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import ImageCms


def _profile(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC version 2 input profile: header, tag table, tags (ICC.1:2001-04, clause 6)."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78), **tags}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    white = struct.pack(">iii", 63190, 65536, 54061)  # D50
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02100000, b"scnr", space, pcs)
    header += bytes(12) + b"acsp" + bytes(28) + white
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.fixture(scope="session")
def swapped_profile() -> bytes:
    """sRGB with red and blue exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"?").replace(b"bXYZ", b"rXYZ").replace(b"?", b"bXYZ")


@pytest.fixture(scope="session")
def linear_grey_profile() -> bytes:
    """Grey whose samples are proportional to light: 128 is what sRGB calls 188."""
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": b"curv" + bytes(8)})


@pytest.fixture(scope="session")
def green_ink_profile() -> bytes:
    """CMYK in which every ink is paper white, save cyan, which is green (L 88, a -79, b 81)."""
    ramp = bytes(range(256))
    corners = b"".join(
        bytes((224, 49, 209)) if cyan else bytes((255, 128, 128))
        for cyan, *_ in itertools.product((0, 1), repeat=4)
    )
    unity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + unity + 4 * ramp + corners + 3 * ramp
    return _profile(b"CMYK", b"Lab ", {b"A2B0": table})


@pytest.fixture(scope="session")
def png16():
    """A function (path, samples uint16 [H, W, C], transparent=None) that writes a PNG of 16 bits per
    sample."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def write(path, samples: np.ndarray, transparent: int | None = None) -> None:
        height, width, channels = samples.shape
        head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
        key = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + key
                         + chunk(b"IDAT", zlib.compress(rows))
                         + chunk(b"IEND", b""))

    return write
