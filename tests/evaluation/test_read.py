"""Mask files of every kind mean the same levels, and what could mean two things is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from birefnet.data.read import read_grey, read_matte
from birefnet.imaging.pictures import PictureError

LEVELS = np.arange(12, dtype=np.uint8).reshape(3, 4) * 23
GREY = Image.fromarray(LEVELS)


@pytest.fixture
def saved(tmp_path):
    def save(picture: Image.Image, name: str = "a.png", **options: object):
        picture.save(tmp_path / name, **options)
        return tmp_path / name
    return save


def reversed_palette() -> Image.Image:
    """Pixels that are indices of greys: index 0 is white."""
    picture = Image.fromarray(255 - LEVELS)
    picture.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    return picture


@pytest.mark.parametrize("read", [read_grey, read_matte])
@pytest.mark.parametrize("picture, name", [
    (GREY, "a.png"),
    (GREY.convert("RGB"), "a.png"),
    (GREY.convert("RGBA"), "a.png"),
    (GREY.convert("LA"), "a.png"),
    (reversed_palette(), "a.png"),
    (Image.fromarray(LEVELS.astype(np.uint16) * 257), "a.png"),
    (Image.fromarray(LEVELS.astype(np.uint16) * 257), "a.tif"),
    (Image.fromarray(LEVELS.astype(np.float32) / 255), "a.tif"),
], ids=lambda value: value if isinstance(value, str) else value.mode)
def test_every_kind_of_file_gives_its_levels(saved, read, picture, name):
    assert read(saved(picture, name)) == pytest.approx(LEVELS / 255, abs=1e-7)


def test_deep_files_keep_their_depth(saved):
    deep = np.array([[0, 1, 30000, 65535]], np.uint16)
    assert read_grey(saved(Image.fromarray(deep))) == pytest.approx(deep / 65535, abs=1e-9)
    shares = (deep / 65535).astype(np.float32)
    assert read_grey(saved(Image.fromarray(shares), "a.tif")) == pytest.approx(shares, abs=1e-9)


def test_floats_that_sharp_resampling_has_carried_over_the_edge_are_cut_and_holes_are_black(saved):
    values = np.array([[-0.1, 0.5, 1.1, np.nan]], np.float32)
    assert read_grey(saved(Image.fromarray(values), "a.tif")).tolist() == [[0, 0.5, 1, 0]]


@pytest.mark.parametrize("low, high", [(0, 255), (-1, 1), (0, np.inf)])
def test_floats_of_another_range_are_refused(saved, low, high):
    """However few: most of a mask is black."""
    values = np.zeros((9, 9), np.float32)
    values[4, 4:6] = low, high
    with pytest.raises(PictureError, match=rf"a\.tif: expected floats in 0\.\.1, got {low} to "):
        read_grey(saved(Image.fromarray(values), "a.tif"))


def transparent() -> list[Image.Image]:
    """LEVELS as the alpha of greys and of colours."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8))
    colours = noise.copy()
    colours.putalpha(GREY)
    return [Image.merge("LA", (noise.convert("L"), GREY)), colours]


@pytest.mark.parametrize("picture", transparent(), ids=lambda picture: picture.mode)
def test_transparency_is_a_cutouts_matte_and_in_a_truth_refused(saved, picture):
    assert read_matte(saved(picture)).tolist() == (LEVELS / 255).tolist()
    with pytest.raises(PictureError, match="expected grey levels, got transparency; save its alpha channel"):
        read_grey(saved(picture))


def test_a_palettes_transparency_is_alpha_too(saved):
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([255, 255, 255, 200, 0, 0])
    assert read_matte(saved(palette, transparency=0)).tolist() == [[0, 1]]


def test_a_cutout_is_turned_upright(saved):
    cutout = transparent()[1]
    exif = cutout.getexif()
    exif[0x0112] = 6
    assert read_matte(saved(cutout, exif=exif)).tolist() == (np.rot90(LEVELS, -1) / 255).tolist()
