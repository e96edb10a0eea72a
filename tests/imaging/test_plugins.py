"""Formats that Pillow plug-ins read: a phone's HEIC with its rotation and wide colours, and JPEG XL."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from birefnet.imaging import pictures

ORIENTATION = 0x0112
# Columns: red, green, blue of Display P3 and of sRGB, as XYZ adapted to D50 (ICC's connection space).
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def wide_profile() -> bytes:
    """Display P3: Pillow's sRGB profile with other primaries."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(struct.unpack_from(">I", content, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", content, 132 + 12 * number)
        if name in (b"rXYZ", b"gXYZ", b"bXYZ"):
            column = P3[:, b"rgb".index(name[0])]
            struct.pack_into(">3i", content, offset + 8, *(round(value * 65536) for value in column))
    return bytes(content)


def linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


@pytest.fixture
def heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()  # which also writes


def test_a_phones_picture_is_upright_and_in_srgb(tmp_path, heif):
    colours = np.array([[0.5, 0.4, 0.35], [0.3, 0.45, 0.6]])
    # two colours, 128×64
    pixels = np.repeat(np.repeat(np.rint(colours * 255).astype(np.uint8)[:, None], 64, 0), 64, 1)
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # stored on its side: turn clockwise to see it
    Image.fromarray(pixels).save(tmp_path / "a.heic", quality=100, exif=exif.tobytes(),
                                 icc_profile=wide_profile())
    read = pictures.read(tmp_path / "a.heic")[0].numpy()
    assert read.shape == (64, 128, 3)
    expected = encoded(linear(colours) @ P3.T @ np.linalg.inv(SRGB).T)
    assert np.abs(read[:, 96:].mean((0, 1)) - expected[0]).max() < 0.02  # the upper half is at the right now
    assert np.abs(read[:, :32].mean((0, 1)) - expected[1]).max() < 0.02


def test_jpeg_xl_is_read(tmp_path):
    import pillow_jxl  # noqa: F401  which also writes

    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jxl", lossless=True)
    assert np.abs(pictures.read(tmp_path / "a.jxl")[0].numpy() * 255 - pixels).max() < 0.5
    assert ".jxl" in pictures.suffixes() and not pictures.why_unreadable(".jxl")


@pytest.mark.parametrize("suffix, module, package", [(".heic", "pillow_heif", "pillow-heif"),
                                                     (".jxl", "pillow_jxl", "pillow-jxl-plugin")])
def test_a_missing_plugin_is_named(tmp_path, monkeypatch, suffix, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("HEIF", "JXL"):
        monkeypatch.delitem(Image.OPEN, name, raising=False)
    monkeypatch.setattr(Image, "EXTENSION", {ending: name for ending, name in Image.EXTENSION.items()
                                             if name not in ("HEIF", "JXL")})
    pictures.register_plugins.cache_clear()
    (tmp_path / f"a{suffix}").write_bytes(b"anything")
    with pytest.raises(pictures.PictureError, match=f"pip install {package}"):
        pictures.read(tmp_path / f"a{suffix}")
    pictures.register_plugins.cache_clear()
