"""`python -m birefnet video`: what OUT's name asks for, and sentences for what cannot be."""

from __future__ import annotations

import shutil
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet.cli.video.work import Colours, _explain_unmeasured

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "video"))  # clips

from clips import frames, frequency, pictures, write  # noqa: E402


@pytest.fixture
def clip(tmp_path) -> Path:
    return write(tmp_path / "in.mp4", pictures(5), sound="aac", seconds=0.2)


@pytest.mark.parametrize(("name", "options"),
                         [("out.mp4", ["--background", "green"]), ("out.mp4", ["--mask"]),
                                               ("out.webm", ["--smoothing", "0.5"]), ("out.mov", [])])
def test_the_name_says_what_is_made(clip, video, tmp_path, name, options):
    status, said = video(clip, "-o", tmp_path / name, *options)
    assert status == 0 and "5 frames written" in said
    assert len(frames(tmp_path / name)) == 5
    assert frequency(tmp_path / name) == pytest.approx(440, abs=8)


def test_a_folder_of_pictures(clip, video, tmp_path):
    assert video(clip, "-o", tmp_path / "out")[0] == 0
    assert [Image.open(file).mode for file in sorted((tmp_path / "out").iterdir())] == ["RGBA"] * 5


@pytest.mark.parametrize(("name", "options"), [("out.webp", []), ("out.gif", []), ("out.png", []),
                                               ("out.gif", ["--background", "red"]),
                                               ("out.webp", ["--mask"])])
def test_an_animation_is_read_and_written(video, tmp_path, name, options):
    first, *rest = map(Image.fromarray, pictures(3))
    first.save(tmp_path / "in.webp", save_all=True, append_images=rest, duration=[50, 70, 90], lossless=True)
    status, said = video(tmp_path / "in.webp", "-o", tmp_path / name, *options)
    assert status == 0 and "3 frames written" in said
    assert ("one bit of alpha" in said) == (name == "out.gif" and not options)
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == 3 and (image.convert("RGBA").getextrema()[3][0] < 255) == (not options)


def test_sound_that_an_animation_cannot_hold_is_told(clip, video, tmp_path):
    status, said = video(clip, "-o", tmp_path / "out.webp")
    assert status == 0 and "without the sound" in said


@pytest.mark.slow
def test_codecs_despill_and_what_a_file_cannot_hold(clip, video, tmp_path):
    out = tmp_path / "out.mp4"
    assert video(clip, "-o", out, "--background", "white", "--codec", "h265", "--despill", "#00b140")[0] == 0
    assert frames(out)[0].format.name == "yuv420p"
    status, said = video(clip, "-o", tmp_path / "out.webm", "--codec", "av1")
    assert status == 1 and "only an .mp4 has a choice of codecs" in said
    wide = write(tmp_path / "wide.mkv", pictures(3), tags={"sample_aspect_ratio": Fraction(4, 3)})
    status, said = video(wide, "-o", tmp_path / "wide.webm")
    assert status == 0 and "stretched from 64×48 to 85×48" in said
    wide.write_bytes(wide.read_bytes()[:-300])
    status, said = video(wide, "-o", tmp_path / "less.webm")
    assert status == 1 and "cut off: its last 300 bytes are missing" in said
    assert not (tmp_path / "less.webm").exists()


def test_the_screen_is_measured_in_the_first_frame_that_shows_it():
    colours, green = Colours("measured", linear=False), torch.tensor([0.1, 0.7, 0.2])
    picture, opaque, cut = green.expand(1, 40, 60, 3).clone(), torch.ones(1, 40, 60), torch.ones(1, 40, 60)
    picture[:, 10:, 20:40] = subject = torch.tensor([0.5, 0.6, 0.5])  # grey, with some of the screen's light
    cut[:, :10], cut[..., :20], cut[..., 40:] = 0, 0, 0
    results = [colours(picture, alpha)[0, 30, 30] for alpha in (opaque, opaque, cut, opaque)]
    assert torch.equal(results[0], subject) and torch.equal(results[1], subject)
    assert results[2][1] < 0.55 and torch.equal(results[3], results[2])
    assert colours.unmeasured == 2
    assert "the first 2 frames, which show" in _explain_unmeasured(colours.unmeasured, 4)


def test_a_clip_without_background_is_written_and_said_once(clip, video, tmp_path):
    opaque = "--refine", "levels=0:0.0001"
    status, said = video(clip, "-o", tmp_path / "out.webm", "--despill", "measured", *opaque)
    assert status == 0 and said.count("no frame shows background") == 1, said
    assert len(frames(tmp_path / "out.webm")) == 5


@pytest.mark.parametrize("name", ["behind.png", "behind.mp4"])
def test_a_picture_or_a_video_behind(clip, video, tmp_path, name):
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    behind = tmp_path / name
    Image.fromarray(red).save(behind) if name.endswith("png") else write(behind, [red] * 2)
    assert video(clip, "-o", tmp_path / "out.mp4", "--background", behind)[0] == 0
    assert len(frames(tmp_path / "out.mp4")) == 5


@pytest.mark.parametrize(("arguments", "words"), [
    (["-o", "out.avi"], "expected a name that ends in"), (["-o", "out.mp4"], "no transparency"),
    (["-o", "out.webm", "--mask"], "make an .mp4"),
    (["-o", "out.mp4", "--background", "no colour"], "a colour"),
    (["-o", "out.mp4", "--background", "#00b14080"], "is opaque"),
    (["-o", "out.webm", "--smoothing", "2"], "0 to 1"), (["-o", "taken.webm"], "--force"),
    (["-o", "in.mp4", "--mask", "--force"], "neither folders nor inputs"),
    (["-o", "behind.mp4", "--background", "behind.mp4", "--force"], "neither folders nor inputs")])
def test_what_cannot_be_is_one_sentence(clip, video, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.webm").write_text("")
    shutil.copy(clip, tmp_path / "behind.mp4")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    status, said = video("in.mp4", *arguments)
    assert status == 1 and words in said and "Traceback" not in said
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_no_video_is_one_sentence(video, tmp_path):
    (tmp_path / "text.mp4").write_text("Dear diary")
    status, said = video(tmp_path / "text.mp4", "-o", tmp_path / "out.webm")
    assert status == 1 and "expected a video" in said
    assert not (tmp_path / "out.webm").exists()
