"""`cut --frame`: a catalogue by one command, in the words of the node Frame Subject."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import birefnet
from birefnet.cli.cut.frame import Frame, parse_frame
from birefnet.cli.options import CommandError
from birefnet.composite import BlendSettings, Framing, compose, measure_subject, plan_frames
from birefnet.imaging import pictures
from birefnet.imaging.boxes import bounding_box

REFINE = ("--refine", "levels=0.45:0.55,largest=1")  # the tiny network's mattes are grey


def test_the_words_of_the_node():
    assert parse_frame("2000x1000, "
                       "margin=40px,position=bottom,ground=8%,shadow=contact,shadow_strength=0.4") == Frame(
        Framing(2000, 1000, 40, "pixels", "bottom", 0.08), 0.5,
        BlendSettings(shadow="contact", shadow_strength=0.4, shadow_y=0.01))
    text = "width=800,aspect=4:5,multiple=16,scale_by=area,share=30%,threshold=0.2,shadow_x=-3%"
    assert parse_frame(text) == Frame(
        Framing(800, scale_by="area", share=0.3, aspect=0.8, multiple=16), 0.2,
        BlendSettings(shadow_x=-0.03, shadow_y=0.01))


@pytest.mark.parametrize("text, sentence", [
    ("", "expected WIDTHxHEIGHT and NAME=VALUE"), ("2000", "expected WIDTHxHEIGHT"),
    ("size=3", "expected a name of width"),
    ("margin=x", "expected a number from 0 to 4096 for margin"),
    ("20000x10", "expected 0 to 16384 pixels for width"),
    ("position=top", "Set position to centre"), ("shadow=long", "expected a shadow of none"),
    ("aspect=3", "expected a number from 0.01 to 100 for aspect"),
    ("20x20,margin=30px", "Lower margin or ground"),
    ("scale_by=height", "Set width and height"), ("200x200,scale_by=area", "add share=PER CENT"),
])
def test_what_cannot_be(text, sentence):
    with pytest.raises(CommandError, match=f"^--frame: {sentence}"):
        parse_frame(text)


def test_a_framed_picture_is_what_the_functions_make(tmp_path, cut, photo, network):
    source = photo("a.png", (90, 70))
    result = cut(source, "-o", tmp_path / "b.png", *REFINE, "--background", "white", "--frame",
                 "200x160,margin=10%,position=bottom,shadow=contact")
    assert result.status == 0
    image = pictures.read(source)
    alpha = birefnet.masks.refine(birefnet.matte(network, image), black=0.45, white=0.55, largest=1)
    plan = plan_frames([measure_subject(alpha[0])], Framing(200, 160, 0.1, position="bottom"))
    wanted, _ = compose(image, alpha, plan.places[0], (160, 200), torch.ones(1, 160, 200, 3),
                        BlendSettings(shadow="contact", shadow_y=0.01))
    found = pictures.read(tmp_path / "b.png")
    assert (found - wanted).abs().max() < 0.6 / 255


def test_mask_and_transparency_are_framed_alike(tmp_path, cut, photo):
    source = photo("a.png", (90, 70))
    frame = ("--frame", "120x120,margin=10px,threshold=0.5", *REFINE)
    assert cut(source, "-o", tmp_path / "mask.png", "--mask", *frame).status == 0
    assert cut(source, "-o", tmp_path / "cutout.png", *frame).status == 0
    mask, cutout = (np.asarray(Image.open(tmp_path / name)) for name in ("mask.png", "cutout.png"))
    assert mask.shape == (120, 120) and cutout.shape == (120, 120, 4)
    assert np.array_equal(cutout[..., 3], mask)
    top, left, bottom, right = bounding_box(torch.from_numpy(mask / 255), 0.5)
    assert max(bottom - top, right - left) == pytest.approx(100, abs=1)
    assert not cutout[mask == 0].any()  # what was removed cannot be recovered


def test_a_folder_is_a_catalogue_of_one_size(tmp_path, cut, photo):
    photo("in/a.png", (60, 40)), photo("in/bb.png", (50, 80))
    frame = ["--frame", "90x120,scale_by=height,share=99%"]
    result = cut(tmp_path / "in", "-o", tmp_path / "out", *REFINE, *frame)
    assert result.status == 0
    assert {Image.open(file).size for file in (tmp_path / "out").glob("*.png")} == {(90, 120)}
    assert sum("not enough room for the requested share" in line for line in result.messages) == 2
    again = cut(tmp_path / "in", "-o", tmp_path / "out", *REFINE, *frame)
    assert any("2 of them before" in line for line in again.messages)
    other = cut(tmp_path / "in", "-o", tmp_path / "out", *REFINE, "--frame", "90x120")
    assert other.status == 1 and "started with other settings (frame" in other.messages[-1]


@pytest.mark.slow
def test_one_command_makes_a_catalogue(tmp_path, cut, photo):
    """2000 × 2000, white, a margin of 5 %, JPEG of quality 90, named after the photographs."""
    photo("in/one.jpg", (60, 40)), photo("in/deep/two.png", (50, 80))
    assert cut(f"{tmp_path}/in/**/*", "-o", tmp_path / "out", *REFINE, "--background", "white", "--format",
               "jpg",
               "--quality", "90", "--frame", "2000x2000,margin=5%,position=bottom,shadow=contact").status == 0
    Image.new("RGB", (8, 8)).save(tmp_path / "reference.jpg", quality=90)
    for name in ("one.jpg", "deep/two.jpg"):
        reference = Image.open(tmp_path / "reference.jpg")
        with Image.open(tmp_path / "out" / name) as image, reference:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (2000, 2000))
            assert image.quantization == reference.quantization
            levels = np.asarray(image)
        assert (levels[:90] > 250).all() and (levels[:900, :60] > 250).all()  # its shadow is wider
        assert levels[1000].min() < 250


def test_light_beyond_one_is_not_clipped_in_silence(tmp_path, cut, photo):
    result = cut(photo("a.png"), "-o", tmp_path / "b.exr", "--frame", "200x200")
    assert result.status == 1
    assert "--frame: leave out --linear, OpenEXR and float samples" in result.messages[-1]
