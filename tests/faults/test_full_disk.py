"""A disk that is full at any byte of a file: a sentence, no half a file, nothing left over, and the next try
works."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from disk import longest_file, names, small_disk
from PIL import Image

import birefnet
from birefnet import video
from birefnet.__main__ import main
from birefnet.imaging import pictures
from birefnet.training.run_folder import RunFolder

PICTURE = torch.rand(1, 90, 120, 4, generator=torch.Generator().manual_seed(0))
FRAMES = torch.rand(5, 64, 64, 4, generator=torch.Generator().manual_seed(0))
ELSEWHERE = "Write it elsewhere or free disk space"
SOUND = 0.2 * torch.sin(torch.arange(44100 // 5) / 16).expand(1, 2, -1)


def limits(length: int) -> list[int]:
    """Where a file of that length may be cut: its beginning, its middle, and every kind of end."""
    return sorted({0, 1, length // 3, length // 2,
                   *(length - n for n in (4097, 1000, 64, 9, 2, 1) if n < length)})


def picture(path: Path) -> None:
    pictures.write(path, PICTURE[..., :3] if path.suffix == ".jpg" else PICTURE, force=True)


def film(path: Path) -> None:
    kind = {".mp4": "h264", ".webm": "vp9", ".mov": "prores"}[path.suffix]
    clip = video.TensorClip(FRAMES[..., :3], Fraction(25), SOUND, 44100)
    with video.writing(path, clip, kind) as writer:
        for time, frame in zip((Fraction(i, 25) for i in range(len(FRAMES))), FRAMES):
            writer.write(time, frame if video.FORMATS[kind].alpha else frame[..., :3])


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
@pytest.mark.parametrize("before", [None, b"the old file"])
def test_a_picture_is_whole_or_what_was_there_before(tmp_path, suffix, before):
    """JPEG and TIFF are encoded by libraries that write by themselves: Pillow called a file cut short a
    success."""
    path = tmp_path / f"a{suffix}"
    picture(path)
    length = path.stat().st_size
    for limit in limits(length):
        path.unlink(missing_ok=True) if before is None else path.write_bytes(before)
        with longest_file(limit), pytest.raises(OSError, match="File too large"):
            picture(path)
        assert names(tmp_path) == ([path.name] if before else [])
        assert before is None or path.read_bytes() == before
    with longest_file(length):
        picture(path)
    with Image.open(path) as image:
        image.load()


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_a_video_is_whole_or_absent(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    film(path)
    length, refused = path.stat().st_size, 0
    for limit in limits(length):
        path.unlink(missing_ok=True)
        try:
            with longest_file(limit):
                film(path)
        except video.VideoError as error:
            refused += 1
            assert str(error) == f"{ELSEWHERE}: {path}: cannot be written (File too large)"
            assert names(tmp_path) == []
        else:  # encoders with several threads vary by some bytes
            assert path.stat().st_size <= limit
            with av.open(str(path)) as container:
                assert len(list(container.decode(video=0))) == len(FRAMES)
    assert refused > len(limits(length)) / 2
    film(path)


def test_a_folder_of_pictures_is_whole_or_absent(tmp_path):
    clip = video.TensorClip(FRAMES, Fraction(25))
    with longest_file(5000), pytest.raises(video.VideoError, match="a: cannot be written .File too large"):
        with video.writing(tmp_path / "a", clip, "png") as writer:
            writer.write(Fraction(0), FRAMES[0])
    assert names(tmp_path) == []


def test_a_video_that_cannot_be_begun_keeps_no_file_open(tmp_path):
    opened = len(os.listdir("/proc/self/fd"))
    errors = []
    for _ in range(3):
        with longest_file(0), pytest.raises(video.VideoError) as raised:
            film(tmp_path / "a.webm")
        errors.append(raised)  # which holds the writer
    assert len(os.listdir("/proc/self/fd")) == opened


def test_a_checkpoint_is_whole_or_what_was_there_before(tmp_path, tiny):
    network, path = birefnet.load(tiny, form="plain"), tmp_path / "a.safetensors"
    birefnet.save(network, path)
    whole = path.read_bytes()
    for limit in limits(len(whole)):
        refused = pytest.raises(OSError, match="a.safetensors cannot be written .*File too large")
        with longest_file(limit), refused:
            birefnet.save(network, path)
        assert names(tmp_path) == [path.name] and path.read_bytes() == whole


# The commands, on a disk that is full in earnest
# ---------------------------------------------------------------------


def pairs(folder: Path) -> Path:
    """Two pictures with truths, and mattes for them in `pred`."""
    square = np.zeros((48, 64), np.uint8)
    square[12:36, 16:48] = 255
    for number in range(2):
        for part in ("data/im", "data/gt", "pred"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(square).save(folder / part / f"{number}.png")
    return folder


def told(command: Callable[[], int], capsys) -> list[str]:
    """The lines on stderr of a command that has to fail."""
    assert command() == 1
    return [line for line in capsys.readouterr().err.splitlines() if line.strip()]


@pytest.mark.parametrize("kib", [4, 8, 16])
def test_cut_says_which_pictures_have_no_room(tmp_path, tiny, capsys, kib):
    big = tmp_path / "photos"
    big.mkdir()
    for number in range(4):
        pictures.write(big / f"{number}.png", PICTURE.roll(number, 2)[..., :3])
    arguments = ["cut", str(big), "-o", str(tmp_path / "disk"), "--model", str(tiny), "--dtype", "fp32",
                 "--mask"]
    with small_disk(tmp_path / "disk", kib) as full:
        lines = told(lambda: main(arguments), capsys)
        assert any("No space left on device" in line for line in lines)
        assert not any("Traceback" in line for line in lines)
        for name in names(full):
            if name.endswith(".png"):
                Image.open(full / name).load()
        assert not [name for name in names(full) if name.endswith(".part")]


@pytest.mark.parametrize("suffix, kib", [(".webm", 4), (".mov", 64)])
def test_a_video_on_a_full_disk_is_one_sentence(tmp_path, tiny, capsys, suffix, kib):
    film(tmp_path / "in.mp4")
    with small_disk(tmp_path / "disk", kib) as full:
        target = full / f"a{suffix}"
        lines = told(lambda: main(["video", str(tmp_path / "in.mp4"), "-o", str(target), "--model", str(tiny),
                                   "--dtype", "fp32"]), capsys)
        assert lines[-1] == f"error: {ELSEWHERE}: {target}: cannot be written (No space left on device)"
        assert names(full) == []


@pytest.mark.parametrize("kib", [0, 4, 8, 12])
def test_eval_on_a_full_disk_is_one_sentence_and_goes_on_later(tmp_path, capsys, forked, kib):
    """The disk is full from the start, after the journal, or among the reports: each is a file system page or
    more."""
    folder = pairs(tmp_path)
    report = ["eval", str(folder / "data"), "--pred", str(folder / "pred"), "--workers", "1", "--json"]
    with small_disk(tmp_path / "disk", max(kib, 4)) as full:
        if not kib:
            (full / "other").write_bytes(bytes(4096))
        lines = told(lambda: main([*report, str(full / "scores.json")]), capsys)
        assert lines[-1].startswith("error: ") and "No space left on device" in lines[-1]
        for name in names(full):
            assert not name.endswith(".part")
            if name.endswith(".json"):
                json.loads((full / name).read_text())
        (full / "other").unlink(missing_ok=True)
    assert main([*report, str(tmp_path / "scores.json")]) == 0


def test_a_state_of_training_is_whole_or_the_one_before(tmp_path):
    run = RunFolder(tmp_path)
    run.save_state({"step": 1})
    with longest_file(100_000), pytest.raises(OSError, match="state.pt"):
        run.save_state({"step": 2, "weights": torch.zeros(1_000_000)})
    assert run.load_state() == {"step": 1} and names(tmp_path) == ["state.pt"]
