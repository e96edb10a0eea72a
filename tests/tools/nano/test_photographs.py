"""Photographs: read out of a Qt resource file that is made here, their licences heeded, their subjects
found."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import PySide6
import pytest
from PIL import Image

from tools.nano import photographs


def write_resource_file(path: Path, files: dict[str, bytes]) -> None:
    """A Qt resource file with the given files below /gcompris/src/activities/zoo/resource, by Qt's own
    compiler."""
    listed = "".join(f"<file>{name}</file>" for name in files)
    for name, content in files.items():
        (path.parent / name).write_bytes(content)
    described = path.with_suffix(".qrc")
    described.write_text('<RCC><qresource prefix="/gcompris/src/activities/zoo/resource">'
                         f"{listed}</qresource></RCC>")
    compiler = Path(PySide6.__file__).parent / "Qt/libexec/rcc"
    subprocess.run([compiler, "--binary", "-o", path, described], check=True)


def photograph() -> np.ndarray:
    """A red disc on green grass, [120,200,3]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:120, 0:200]
    pixels = rng.normal((40, 150, 50), 12, (120, 200, 3))
    pixels[disc(y, x)] = rng.normal((200, 40, 40), 12, (disc(y, x).sum(), 3))
    return pixels.clip(0, 255).astype(np.uint8)


def disc(y, x):
    return np.hypot(y - 60, x - 110) < 38


README = """Copyright: Somebody
License: {}
Source: a page
Files:
disc.png
other.png

Copyright: Somebody else
License: CC-BY-SA-3.0
Files: shared.png
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """Writes the activity "zoo" with the given licence of disc.png."""
    def write(licence: str) -> None:
        held = io.BytesIO()
        Image.fromarray(photograph()).save(held, "PNG")
        content = {name: held.getvalue() for name in ("disc.png", "other.png", "shared.png", "unnamed.png")}
        content["README"] = README.format(licence).encode()
        write_resource_file(tmp_path / "zoo.rcc", content)
        monkeypatch.setattr(photographs, "RESOURCES", tmp_path)
        photographs.read_resources.cache_clear()
        photographs.read_licences.cache_clear()

    return write


@pytest.mark.parametrize("licence", ["Public domain", "CC0-1.0", "CC-BY-4.0"])
def test_a_picture_whose_licence_serves_is_read(zoo, licence):
    zoo(licence)
    assert (photographs.read("zoo/disc.png", 200) == photograph()).all()
    assert photographs.read("zoo/other.png", 100).shape == (60, 100, 3)


@pytest.mark.parametrize("name, said", [("zoo/shared.png", "cc-by-sa-3.0"), ("zoo/unnamed.png", "not named")])
def test_any_other_is_refused(zoo, name, said):
    zoo("CC0-1.0")
    with pytest.raises(PermissionError, match=said):
        photographs.read(name, 200)


def test_another_file_is_no_resource_file(zoo, tmp_path):
    zoo("CC0-1.0")
    (tmp_path / "zoo.rcc").write_bytes(b"PK\3\4" + bytes(40))
    photographs.read_resources.cache_clear()
    with pytest.raises(ValueError, match="no Qt resource file"):
        photographs.read("zoo/disc.png", 200)


def test_the_marked_subject_is_found():
    alpha = photographs.segment_by_strokes(photograph(), {"box": [30, 10, 80, 90], "inside": [[55, 50, 3]]})
    truth = disc(*np.mgrid[0:120, 0:200])
    found = alpha > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.97
    assert 0 < ((alpha > 0.1) & (alpha < 0.9)).mean() < 0.1  # a soft edge, no haze


def test_a_stroke_outside_keeps_a_part_out():
    strokes = {"box": [30, 10, 80, 90], "outside": [[55, 10, 55, 50, 4]]}
    alpha = photographs.segment_by_strokes(photograph(), strokes)
    assert alpha[30:60, 108:112].max() < 0.5


# --- outlines -----------------------------------------------------------------------------------------------

HEIGHT, WIDTH = 120, 200


@pytest.fixture
def truth() -> np.ndarray:
    """A disc that leaves the picture below."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.hypot(x - 110, y - 95) < 50


@pytest.fixture
def half_dark(truth) -> np.ndarray:
    """The disc, one half of it as dark as the ground."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = np.random.default_rng(0).integers(0, 20, (HEIGHT, WIDTH, 3))
    bright = truth & (x < 110)
    return (np.where(bright[..., None], [200, 150, 60], [30, 40, 35]) + noise).astype(np.uint8)


def draw_outline(off: float) -> list[float]:
    """The disc as somebody draws it, `off` pixels too large or small by turns, in percent."""
    corners = []
    for i, angle in enumerate(np.linspace(0, 2 * np.pi, 24, endpoint=False)):
        radius = 50 + (off if i % 2 else -off)
        corners += [np.clip(110 + radius * np.cos(angle), 0, WIDTH) / WIDTH * 100,
                    np.clip(95 + radius * np.sin(angle), 0, HEIGHT) / HEIGHT * 100]
    return corners


def test_where_the_subject_stands_out_the_edge_is_found_and_elsewhere_the_outline_counts(half_dark, truth):
    found = photographs.segment_by_outline(half_dark, draw_outline(2)) > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.85
    bright = np.s_[:, :105]
    assert (found[bright] & truth[bright]).sum() / (found[bright] | truth[bright]).sum() > 0.97
    assert found[-1, 80:140].all()  # at the border too


def test_the_cache_gets_scenes_portraits_cutouts_and_places(half_dark, tmp_path, monkeypatch):
    for name in ("person.png", "cup.png", "dog.png", "hill.png", "sky.png", "mill.png"):
        Image.fromarray(half_dark).save(tmp_path / name)
    monkeypatch.setattr(photographs, "SHARE", tmp_path)
    monkeypatch.setattr(photographs, "read_marks", lambda: {
        "strokes": {"dog.png": {"box": [20, 10, 90, 100]}},
        "outlines": {"person.png": {"kind": "person", "framing": "half", "outline": draw_outline(0)},
                     "cup.png": {"kind": "thing", "outline": draw_outline(0)}},
        "places": ["hill.png"], "empty": ["sky.png"], "unmarked": ["mill.png"]})
    entries = [(kind, name, picture.shape) for kind, name, picture in photographs.read_photographs()]
    assert [entry[:2] for entry in entries] == [
        ("scene", "dog.png"), ("animal", "dog.png"), ("portrait", "half"), ("human", "half"),
        ("scene", "cup.png"), ("thing", "cup.png"), ("place", "hill.png"), ("empty", "sky.png"),
        ("unmarked", "mill.png")]
    assert [shape[2] for *_, shape in entries] == [4, 4, 4, 4, 4, 4, 3, 3, 3]
    assert entries[3][2][1] < WIDTH == entries[2][2][1]


def test_marks_lie_within_their_pictures():
    marks = photographs.read_marks()
    assert len(marks["strokes"]) > 80 and len(marks["outlines"]) > 30 and len(marks["places"]) > 70
    names = [name for key in ("strokes", "outlines", "places", "empty", "unmarked") for name in marks[key]]
    assert len(names) == len(set(names))
    for name, strokes in marks["strokes"].items():
        assert set(strokes) <= {"box", "inside", "outside", "smallest"}, name
        for line in (strokes.get("box", []), *strokes.get("inside", []), *strokes.get("outside", [])):
            assert all(0 <= value <= 100 for value in line), name
        left, top, right, bottom = strokes.get("box", (4, 4, 96, 96))
        assert left < right and top < bottom, name
    for name, mark in marks["outlines"].items():
        assert mark["kind"] in ("person", "animal", "thing"), name
        assert mark.get("framing", "half") in ("full", "half", "head"), name
        assert len(mark["outline"]) >= 16 and len(mark["outline"]) % 2 == 0, name
        assert all(0 <= value <= 100 for value in mark["outline"]), name
