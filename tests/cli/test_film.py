"""`cut` for film and scans: OpenEXR, 16 bits, numbered frames, what is kept of a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

import birefnet
from birefnet import video as birefnet_video
from birefnet.cli.numbered import find_frames
from birefnet.imaging import photographs

LIGHT = (np.random.default_rng(0).random((40, 60, 3)) * 3).astype(np.float16)


def write_exr(path: Path, light: np.ndarray = LIGHT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage},
                      dict(zip("RGB", np.ascontiguousarray(np.moveaxis(light, -1, 0))))) as file:
        file.write(str(path))
    return path


def channels(path: Path) -> dict[str, np.ndarray]:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: channel.pixels.copy() for name, channel in file.channels().items()}


def test_an_exr_is_cut_out_with_its_colours_bit_for_bit(tmp_path, cut, network):
    source = write_exr(tmp_path / "a.exr")
    result = cut(source, "-o", tmp_path / "b.exr")
    assert result.status == 0, result.messages
    alpha = birefnet.matte(network, photographs.read(source).srgb)[0].numpy()
    found = channels(tmp_path / "b.exr")
    assert np.abs(found["A"] - alpha).max() < 1e-3 and found["A"].dtype == np.float16
    seen = alpha > 0.5 / 255
    assert seen.any()
    assert all(np.array_equal(found[name][seen], LIGHT[..., i][seen]) for i, name in enumerate("RGB"))


def test_an_exr_becomes_srgb_in_other_files_and_a_photograph_light_in_an_exr(tmp_path, cut, photo):
    grey = write_exr(tmp_path / "a.exr", np.full((40, 60, 3), 0.18, np.float16))
    assert cut(grey, "-o", tmp_path / "b.png").status == 0
    levels = np.array(Image.open(tmp_path / "b.png"))
    assert set(np.unique(levels[levels[..., 3] > 0][:, :3])) <= {117, 118}
    Image.new("RGB", (60, 40), (118, 118, 118)).save(tmp_path / "c.png")
    assert cut(tmp_path / "c.png", "-o", tmp_path / "c.exr").status == 0
    found = channels(tmp_path / "c.exr")
    assert found["R"][found["A"] > 0.01] == pytest.approx(0.181, abs=0.001)


def test_a_matte_and_a_background_in_an_exr(tmp_path, cut):
    source = write_exr(tmp_path / "a.exr")
    assert cut(source, "-o", tmp_path / "m.exr", "--mask", "--depth", "float").status == 0
    matte = channels(tmp_path / "m.exr")
    assert list(matte) == ["Y"] and matte["Y"].dtype == np.float32
    assert cut(source, "-o", tmp_path / "o.exr", "--background", "#767676", "--depth", "float").status == 0
    alpha, over = matte["Y"], channels(tmp_path / "o.exr")
    behind = ((118 / 255 + 0.055) / 1.055) ** 2.4
    assert set(over) == {"R", "G", "B"}
    assert np.abs(over["G"] - (LIGHT[..., 1] * alpha + behind * (1 - alpha))).max() < 1e-2


def test_linear_and_sixteen_bits_keep_every_level(tmp_path, cut, network):
    samples = np.random.default_rng(1).integers(0, 65536, (40, 60, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb")
    assert cut(tmp_path / "a.tif", "-o", tmp_path / "b.tif", "--depth", "16", "--linear").status == 0
    found = tifffile.imread(tmp_path / "b.tif")
    alpha = found[..., 3] / 65535
    assert found.dtype == np.uint16 and np.array_equal(found[alpha > 0.002][:, :3], samples[alpha > 0.002])
    light = torch.from_numpy(samples / 65535).float()[None]
    srgb = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.pow(1 / 2.4) - 0.055)
    assert np.abs(alpha - birefnet.matte(network, srgb)[0].numpy()).max() < 1e-3


def test_clean_edges_of_bright_light(tmp_path, cut):
    source = write_exr(tmp_path / "a.exr", np.full((40, 60, 3), 3, np.float16))
    assert cut(source, "-o", tmp_path / "b.exr", "--clean-edges").status == 0
    found = channels(tmp_path / "b.exr")
    assert found["R"][found["A"] > 0.01] == pytest.approx(3, abs=0.01)


def test_numbered_frames_in_and_out_and_on_again(tmp_path, cut):
    for number in (8, 9, 10, 11):
        write_exr(tmp_path / "in" / f"shot.{number:04}.exr", LIGHT * np.float16(number / 8))
    write_exr(tmp_path / "in" / "shot.12.exr")  # not four digits
    write_exr(tmp_path / "in" / "other.0001.exr")
    arguments = tmp_path / "in" / "shot.####.exr", "-o", tmp_path / "out" / "cut_#####.exr"
    result = cut(*arguments)
    assert (result.status, result.messages[-1]) == (0, f"4 of 4 written to {tmp_path / 'out'}")
    written = sorted(path.name for path in (tmp_path / "out").glob("*.exr"))
    assert written == [f"cut_{i:05}.exr" for i in (8, 9, 10, 11)]
    (tmp_path / "out" / "cut_00010.exr").unlink()
    again = cut(*arguments)
    assert (again.status, again.messages[-1]) == (0, f"4 of 4 written to {tmp_path / 'out'}, 3 of them "
                                                     "before")


def test_frames_beyond_the_digits_come_last(tmp_path):
    for number in (9999, 10000, 1):
        (tmp_path / f"a{number:04}.exr").touch()
    found = find_frames(str(tmp_path / "a####.exr"))
    assert [Path(place).stem for place in found] == ["a0001", "a9999", "a10000"]


def test_the_format_of_a_folder(tmp_path, cut, photo):
    photo("in/a.png"), write_exr(tmp_path / "in" / "b.exr")
    assert cut(tmp_path / "in", "-o", tmp_path / "out", "--format", "exr").status == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.*")) == [".cut", "a.exr", "b.exr"]


@pytest.mark.parametrize(("arguments", "words"), [
    (["a.exr", "-o", "b.png", "--depth", "half"], "take depth 8 or 16"),
    (["a.exr", "-o", "b.png", "--premultiplied"], "use .tif or .exr"),
    (["a.exr", "-o", "out", "--format", "jpg"], "JPEG has no transparency"),
    (["a.exr", "-o", "out.####.exr"], "expected inputs that are numbered"),
    (["none.####.exr", "-o", "out"], "no file matches")])
def test_what_cannot_be_is_one_sentence(tmp_path, cut, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_exr(tmp_path / "a.exr")
    result = cut(*arguments)
    assert result.status == 1 and words in result.messages[-1], result.messages


def test_the_profile_of_a_photograph_survives_and_its_colours_with_it(tmp_path, cut, photo):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"?").replace(b"bXYZ", b"rXYZ").replace(b"?", b"bXYZ")
    source = photo("a.png", icc_profile=swapped, dpi=(300, 300))
    assert cut(source, "-o", tmp_path / "b.png").status == 0
    with Image.open(tmp_path / "b.png") as image, Image.open(source) as before:
        assert image.info["icc_profile"] == swapped
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        found, seen = np.array(image), np.array(image)[..., 3] > 0
        assert np.array_equal(found[seen][:, :3], np.array(before)[seen])
    assert cut(source, "-o", tmp_path / "c.png", "--background", "white").status == 0
    assert "icc_profile" not in Image.open(tmp_path / "c.png").info  # sRGB, as the background is


def test_twelve_bits_in_sixteen_are_told_of(tmp_path, cut):
    ramp = np.linspace(0, 4095, 2400).astype(np.uint16).reshape(40, 60)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    result = cut(tmp_path / "a.png", "-o", tmp_path / "b.png", "--background", "white")
    told = "\n".join(result.messages)
    assert result.status == 0 and ("taken for 12 bits" in told or "nothing found" in told)


@pytest.mark.parametrize("screen", ["measured", "#00b140"])
def test_a_green_screens_light_is_removed_and_alpha_stays(tmp_path, cut, screen):
    grey = np.full((40, 60, 3), 0.3, np.float32)
    green = np.array([0.0, 0.4397, 0.0513], np.float32)  # #00b140 in linear light
    light = np.where(np.arange(60)[:, None] < 30, grey + 0.3 * green, green).astype(np.float32)
    source = write_exr(tmp_path / "a.exr", light)
    # nothing is subject: all is screen
    arguments = () if screen != "measured" else ("--refine", "levels=0.999:1")
    assert cut(source, "-o", tmp_path / "plain.exr", *arguments).status == 0
    result = cut(source, "-o", tmp_path / "b.exr", "--despill", screen, *arguments)
    assert result.status == 0, result.messages
    plain, found = channels(tmp_path / "plain.exr"), channels(tmp_path / "b.exr")
    assert np.array_equal(plain["A"], found["A"])
    if screen != "measured":
        seen = found["A"][:, :30] > 0.01
        assert np.abs(found["G"][:, :30][seen] - 0.3).max() < 2e-3


def test_a_picture_without_a_screen_says_so(tmp_path, cut, photo):
    Image.new("RGB", (60, 40), (90, 90, 90)).save(tmp_path / "a.png")
    result = cut(tmp_path / "a.png", "-o", tmp_path / "b.png", "--despill", "measured", "--refine",
                 "levels=0.999:1")
    assert result.status == 1
    assert "Set the colour of a green or blue screen" in result.messages[0] + result.messages[1]


@pytest.fixture
def shot(tmp_path) -> Path:
    """The pattern of three frames in linear light."""
    for number in (8, 9, 10):
        write_exr(tmp_path / "in" / f"shot.{number:04}.exr", LIGHT * np.float16(number / 8))
    return tmp_path / "in" / "shot.####.exr"


def test_a_shot_is_matted_over_time_in_linear_light(tmp_path, video, shot):
    status, said = video(shot, "-o", tmp_path / "out" / "cut.####.exr", "--smoothing", "0.5")
    assert status == 0 and "3 frames written" in said, said
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [f"cut.{i:04}.exr" for i in (8, 9, 10)]
    for number in (8, 10):
        found, light = channels(tmp_path / "out" / f"cut.{number:04}.exr"), LIGHT * np.float16(number / 8)
        opaque = found["A"] == 1
        assert found["R"].dtype == np.float16 and np.isfinite(found["G"]).all() and found["R"].max() > 1
        assert np.array_equal(found["R"][opaque], light[..., 0][opaque])
    status, said = video(shot, "-o", tmp_path / "out" / "cut.####.exr")
    assert status == 1 and "Pass --force to overwrite it" in said
    assert video(shot, "-o", tmp_path / "out" / "cut.####.exr", "--force")[0] == 0


@pytest.mark.parametrize(("name", "options", "suffixes"), [
    ("matte.####.exr", ["--mask"], {"Y"}),
    ("over.##.exr", ["--background", "green", "--depth", "float"], set("RGB"))])
def test_mattes_and_backgrounds_of_a_shot(tmp_path, video, shot, name, options, suffixes):
    assert video(shot, "-o", tmp_path / "out" / name, *options)[0] == 0
    assert set(channels(sorted((tmp_path / "out").iterdir())[0])) == suffixes


def test_a_shot_becomes_a_clip_and_a_clip_a_shot(tmp_path, video, shot):
    assert video(shot, "-o", tmp_path / "a.mp4", "--background", "#808080", "--rate", "24000/1001")[0] == 0
    with birefnet_video.VideoClip(tmp_path / "a.mp4") as clip:
        assert clip.count == 3 and abs(float(clip.rate) - 23.976) < 0.01
    assert video(tmp_path / "a.mp4", "-o", tmp_path / "frames" / "b.###.tif", "--depth", "16")[0] == 0
    assert tifffile.imread(tmp_path / "frames" / "b.002.tif").dtype == np.uint16


@pytest.mark.parametrize(("arguments", "words"), [
    (["-o", "out.webm", "--depth", "16"], "are for numbered pictures"),
    (["-o", "cut.####.jpg"], "JPEG has no transparency"), (["-o", "in/shot.####.exr"], "would replace those"),
    (["-o", "cut.####.exr", "--background", "in/shot.0008.exr"], "only a colour")])
def test_shots_that_cannot_be(tmp_path, video, shot, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, said = video("in/shot.####.exr", *arguments)
    assert status == 1 and words in said, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_frames_of_another_size_are_one_sentence(tmp_path, video, shot):
    write_exr(tmp_path / "in" / "shot.0009.exr", LIGHT[:20])
    status, said = video(shot, "-o", tmp_path / "out" / "cut.####.exr")
    assert status == 1 and "expected 60×40 pixels as the first frame has, got 60×20" in said
