"""`cut` and `video` with --box, --point, --not-point and --scribble: one of several subjects."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from birefnet.__main__ import main
from birefnet.matting.subject import Follower

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "video"))  # clips

from clips import frames, write  # noqa: E402

DATA = Path(__file__).parents[1] / "data"
PAIR = DATA / "pair.jpg"
BOX, POINT = "698,256,363,333", "850,420"  # of the cup


@pytest.fixture
def run(capsys):
    def call(*arguments: object) -> tuple[int, str]:
        try:
            status = main([*map(str, arguments)])
        except SystemExit as error:
            status = error.code
        return status, capsys.readouterr().err

    return call


def iou(path: Path, name: str) -> float:
    found, known = (np.asarray(Image.open(file).convert("L")) > 127
                    for file in (path, DATA / f"pair_{name}_mask.png"))
    return (found & known).sum() / (found | known).sum()


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--point", POINT], ["--box", BOX, "--not-point", "300,420"],
                                     ["--scribble", "s.png"], ["--scribble", "red.png"]])
def test_one_of_two_is_cut_out(run, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    stroke = Image.new("L", Image.open(PAIR).size)
    ImageDraw.Draw(stroke).line([(760, 400), (900, 420)], fill=255, width=12)
    stroke.save("s.png")
    red = Image.new("RGB", stroke.size, "red")
    red.putalpha(stroke)
    red.save("red.png")
    status, said = run("cut", PAIR, "-o", "out.png", "--mask", *options)
    assert status == 0, said
    assert iou(tmp_path / "out.png", "coffee") > 0.88


@pytest.mark.slow
def test_two_boxes_take_both_and_a_folder_remembers_them(run, tmp_path):
    out = tmp_path / "out"
    both = ("--box", BOX, "--box", "54,144,498,496")
    assert run("cut", PAIR, "-o", out, "--mask", *both)[0] == 0
    found = np.asarray(Image.open(out / "pair.png")) > 127
    assert found[420, 850] and found[420, 290]
    assert json.loads((out / ".cut" / "state.json").read_text())["settings"]["subject"]["boxes"] == [
        [698, 256, 363, 333], [54, 144, 498, 496]]
    status, said = run("cut", PAIR, "-o", out, "--mask", "--box", BOX)
    assert status == 1 and "started with other settings (subject" in said


@pytest.mark.slow
def test_a_place_without_a_subject_is_said(run, tmp_path):
    status, said = run("cut", PAIR, "-o", tmp_path / "out.png", "--mask", "--point", "640,60")
    assert status == 0 and "no subject there, the result is empty" in said


@pytest.mark.parametrize("options, words", [
    (["--box", "1,2,3"], "expected X,Y,WIDTH,HEIGHT in pixels, got 1,2,3"),
    (["--box", "1,2,0,5"], "expected X,Y,WIDTH,HEIGHT"),
    (["--point", "left"], "expected X,Y in pixels, got left"),
    (["--not-point", "3,4"], "choose one with --box, --point or --scribble"),
    (["--scribble", "s.png", "--box", BOX, "--box", BOX], "--scribble marks one subject"),
    (["--scribble", "s.png", "--scribble", "t.png"], "draw all of its strokes in one picture"),
    (["--scribble", "none.png"], "--scribble none.png: no such file"),
    (["--box", "5,5,40,30", "--box", "700,300,90,90", "--point", POINT], "Give a box around the point"),
    (["--point", POINT, "--engine", "ray"], "--engine ray chooses no subject")])
def test_what_cannot_be_is_one_sentence(run, tmp_path, options, words):
    status, said = run("cut", PAIR, "-o", tmp_path / "out.png", *options)
    assert status and words in said and "Traceback" not in said
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("options, words", [
    (["--point", "60,10"], "the point (60, 10) lies outside the picture of 60×40"),
    (["--box", "60,0,9,9"], "lies outside the picture"),
    (["--scribble", "s.png"], "Draw s.png on the picture itself")])
def test_what_does_not_fit_a_picture_is_said_of_it(cut, photo, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (30, 20), 255).save("s.png")
    result = cut(photo("a.png"), "-o", "out.png", *options)
    assert result.status == 1 and words in " ".join(result.messages)
    assert not (tmp_path / "out.png").exists()


# Through a clip ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """The pair, at a third of its size, moving to the left by three pixels a frame."""
    picture = np.asarray(Image.open(PAIR).resize((400, 214)))
    return write(tmp_path_factory.mktemp("clip") / "in.mp4",
                 [picture[:, 3 * i:3 * i + 360] for i in range(8)])


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory) -> Path:
    """The same at half the size, where it is not looked at how well the subject is found."""
    picture = np.asarray(Image.open(PAIR).resize((200, 106)))
    return write(tmp_path_factory.mktemp("clip") / "in.mp4", [picture[:, i:i + 180] for i in range(8)])


@pytest.mark.slow
def test_a_subject_is_followed_both_ways(run, clip, tmp_path):
    status, said = run("video", clip, "-o", tmp_path / "out.mp4", "--mask", "--point", "268,140", "--frame",
                       4)
    assert status == 0 and "8 frames written" in said and "not found" not in said
    known = np.asarray(Image.open(DATA / "pair_coffee_mask.png").resize((400, 214))) > 127
    for i, frame in enumerate(frames(tmp_path / "out.mp4")):
        found, wanted = frame.to_ndarray(format="gray") > 127, known[:, 3 * i:3 * i + 360]
        assert (found & wanted).sum() / (found | wanted).sum() > 0.85, i


@pytest.mark.slow
@pytest.mark.parametrize("out", ["out.mp4", "cut.##.png"])
def test_an_interrupted_run_goes_on_where_it_stopped(run, small_clip, tmp_path, monkeypatch, out):
    monkeypatch.setattr("birefnet.video.following.SAVE_EVERY_FRAMES", 2)
    options = ("video", small_clip, "--mask", "--point", "134,70", "--frame", 2, "--size", 160, "-o")
    (tmp_path / "whole").mkdir()
    assert run(*options, tmp_path / "whole" / out)[0] == 0
    follow, calls = Follower.__call__, []

    def stop(self, picture):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return follow(self, picture)

    monkeypatch.setattr(Follower, "__call__", stop)
    status, said = run(*options, tmp_path / out)
    assert status == 130 and "run the same command to resume" in said
    kept = tmp_path / f".{out}.following"
    assert kept.is_dir()
    monkeypatch.setattr(Follower, "__call__", follow)
    status, said = run(*options, tmp_path / out)
    assert status == 0 and "5 mattes were kept from a run that was stopped" in said, said
    assert not kept.exists()
    if out.endswith(".mp4"):
        one, other = (np.stack([frame.to_ndarray(format="gray") for frame in frames(folder / out)])
                      for folder in (tmp_path, tmp_path / "whole"))
        assert np.array_equal(one, other)
    else:
        for file in sorted((tmp_path / "whole").iterdir()):
            assert (tmp_path / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("options, words", [
    (["--point", "268,140", "--frame", 20], "Choose the subject in an earlier frame than 20"),
    (["--point", "900,140"], "lies outside"), (["--point", "230,5"], "none was found in frame 0"),
    (["--scribble", "none.png"], "--scribble none.png: no such file"),
    (["--frame", "x", "--point", "1,1"], "expected a number")])
def test_what_cannot_be_in_a_clip_is_one_sentence(run, clip, tmp_path, options, words):
    status, said = run("video", clip, "-o", tmp_path / "out.mp4", "--mask", *options)
    assert status and words in said and "Traceback" not in said
    assert not list(tmp_path.iterdir()), "nothing is left"
