"""Bad data are found before the first step, all of them, each with its file and reason."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from birefnet.data.check import Checked, check_pairs, explain_unusable, looks_inverted
from birefnet.data.pairs import DataError
from birefnet.data.read import read_mask

SUBJECT = np.zeros((40, 60), np.uint8)
SUBJECT[10:30, 20:40] = 255


def put(folder: Path, name: str, mask: Image.Image, picture: Image.Image | None = None) -> None:
    picture = picture or Image.new("RGB", (60, 40), (90, 120, 30))
    for part, image, suffix in (("im", picture, "jpg"), ("gt", mask, "png")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        image.save(folder / part / f"{name}.{suffix}", exif=image.getexif())


def found(folder: Path, known: Path | None = None) -> Checked:
    return check_pairs(folder, known or folder / "checked.json", 2)


@pytest.fixture
def data(tmp_path):
    """One good pair."""
    put(tmp_path / "data", "good", Image.fromarray(SUBJECT))
    return tmp_path / "data"


def problems(folder: Path) -> dict[str, str]:
    """Reasons by file, of everything but the good pair."""
    result = found(folder)
    assert [pair.name for pair in result.pairs] == ["good"]
    return {problem.file.relative_to(folder).as_posix(): problem.reason for problem in result.problems}


@pytest.mark.parametrize("mask, reason", [
    (Image.new("L", (60, 40), 255), "the mask is full: everything is subject"),
    (Image.new("L", (60, 40), 80), "the mask is full: everything is subject"),
    (Image.fromarray(SUBJECT // 255), "brightest level is 1 of 255: labels"),
    (Image.fromarray(SUBJECT.astype(np.uint16)), "brightest level is 1 of 255: labels"),
    (Image.fromarray(255 - SUBJECT), "looks inverted"),
    (Image.new("RGB", (60, 40), (200, 0, 0)), "has colours"),
    (Image.new("RGBA", (60, 40), (0, 0, 0, 9)), "has transparency; save its alpha channel"),
    (Image.fromarray(SUBJECT).resize((30, 20)), "the mask is 30×20, the picture 60×40"),
    (Image.fromarray(SUBJECT).transpose(Image.Transpose.ROTATE_90), "the mask is 40×60, the picture 60×40"),
], ids=lambda value: value if isinstance(value, str) else value.mode)
def test_masks_that_would_teach_nonsense_are_listed(data, mask, reason):
    put(data, "bad", mask)
    assert list(problems(data)) == ["gt/bad.png"] and reason in problems(data)["gt/bad.png"]


@pytest.mark.parametrize("mode", ["L", "RGBA", "1", "I;16"])
def test_an_empty_mask_is_a_picture_without_a_subject(data, mode):
    put(data, "none", Image.new(mode, (60, 40), (0, 0, 0, 255) if mode == "RGBA" else 0))
    for _ in range(2):  # the second time by what the first has found
        result = found(data)
        assert [pair.name for pair in result.pairs] == ["good", "none"]
        assert result.problems == [] and result.empty == 1


def test_a_palette_of_labels_is_listed_and_one_of_greys_is_read_by_its_greys(data):
    labels = Image.fromarray(SUBJECT // 255)
    labels.putpalette([0, 0, 0, 128, 0, 0])
    put(data, "labels", labels)
    assert problems(data) == {"gt/labels.png": "the mask has colours (a palette of labels?); save it as grey "
                                               "levels, white for the subject"}
    labels.putpalette([0, 0, 0, 255, 255, 255])
    put(data, "labels", labels)
    assert not found(data).problems
    assert np.array_equal(read_mask(data / "gt/labels.png")[0], SUBJECT / 255)


@pytest.mark.parametrize("mode", ["I;16", "1", "L", "RGB", "RGBA"])
def test_masks_of_every_depth_mean_the_same(data, mode):
    deep = SUBJECT.astype(np.uint16) * 257
    put(data, "deep", Image.fromarray(deep) if mode == "I;16" else Image.fromarray(SUBJECT).convert(mode))
    assert not found(data).problems
    assert np.array_equal(read_mask(data / "gt/deep.png")[0], SUBJECT / 255)


def test_files_without_a_partner_are_listed_both_ways(data):
    for name in ("im/alone.jpg", "gt/lonely.png"):
        shutil.copy(data / name.replace("alone", "good").replace("lonely", "good"), data / name)
    assert problems(data) == {"im/alone.jpg": "there is no mask of the same name",
                              "gt/lonely.png": "there is no picture of the same name"}


def test_two_pictures_with_one_mask_are_listed(data):
    put(data, "twice", Image.fromarray(SUBJECT))
    Image.open(data / "im/twice.jpg").save(data / "im/twice.png")
    assert problems(data) == {f"im/twice.{suffix}": "several pictures share the mask twice.png"
                              for suffix in ("jpg", "png")}


@pytest.mark.parametrize("file", ["im/cut.jpg", "gt/cut.png"])
def test_damaged_files_are_listed(data, file):
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    put(data, "cut", Image.fromarray(SUBJECT).resize((300, 200)), Image.fromarray(noise))
    content = (data / file).read_bytes()
    (data / file).write_bytes(content[:len(content) // 2])
    assert list(problems(data)) == [file] and "damaged" in problems(data)[file]
    (data / file).write_bytes(b"")
    assert problems(data) == {file: "the file is empty"}


def test_a_turned_photograph_wants_its_mask_turned(data):
    """EXIF orientation 6: the file lies on its side, people see it upright, 40 wide and 60 high."""
    photograph = Image.new("RGB", (60, 40), (90, 120, 30))
    photograph.getexif()[0x0112] = 6
    put(data, "turned", Image.fromarray(SUBJECT), photograph)
    reason = problems(data)["gt/turned.png"]
    assert "the mask is 60×40, the picture 40×60 after its EXIF orientation turned it" in reason
    put(data, "turned", Image.fromarray(SUBJECT).transpose(Image.Transpose.ROTATE_270), photograph)
    assert not found(data).problems


def test_close_ups_and_holes_do_not_look_inverted():
    y, x = np.mgrid[-1:1:60j, -1:1:60j]
    portrait = ((np.abs(x) < 0.8) & (y > -0.9)).astype(float)
    fence = (np.arange(60) // 6 % 2 * np.ones((60, 1))).astype(float)
    ring = ((np.hypot(x, y) < 0.95) & (np.hypot(x, y) > 0.6)).astype(float)
    assert not [mask for mask in (portrait, fence, ring) if looks_inverted(mask)]
    assert all(looks_inverted(1 - mask) for mask in (np.hypot(x, y) < 0.7, np.hypot(x - 0.5, y) < 0.3, ring))
    standing = (np.hypot(x, (y - 1) / 3) < 0.6).astype(float)  # reaches the lower border
    assert looks_inverted(1 - standing) and not looks_inverted(standing)
    assert explain_unusable(np.repeat(ring[..., None], 3, 2)) is None


def test_the_fingerprint_tells_names_and_contents(data, tmp_path):
    first = found(data).fingerprint
    assert found(shutil.copytree(data, tmp_path / "copy")).fingerprint == first
    put(data, "good", Image.fromarray(SUBJECT).point(lambda level: level and 254))
    assert found(data).fingerprint != first


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names")
def test_names_that_are_not_utf_8_are_names(data):
    put(data, os.fsdecode(b"caf\xe9"), Image.fromarray(SUBJECT))
    first = found(data)
    assert [pair.name for pair in first.pairs] == [os.fsdecode(b"caf\xe9"), "good"] and not first.problems
    for folder, suffix in (("im", "jpg"), ("gt", "png")):
        (data / folder / os.fsdecode(b"caf\xe9." + suffix.encode())).rename(data / folder / f"cafe.{suffix}")
    assert found(data).fingerprint != first.fingerprint


def test_a_second_check_reads_only_what_has_changed(data, tmp_path, monkeypatch):
    known = tmp_path / "checked.json"
    put(data, "bad", Image.new("L", (60, 40), 255))
    first = found(data, known)
    assert len(json.loads(known.read_text())) == 2
    monkeypatch.setattr("birefnet.data.check._judge", lambda pair: pytest.fail(f"{pair.name} is read again"))
    assert found(data, known) == first
    with pytest.raises(pytest.fail.Exception, match="good is read again"):
        put(data, "good", Image.fromarray(SUBJECT), Image.new("RGB", (60, 40)))
        found(data, known)


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a folder with the pictures in im/"):
        found(tmp_path / "nowhere", tmp_path / "checked.json")
