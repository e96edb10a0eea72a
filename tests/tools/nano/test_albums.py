"""Subjects within outlines drawn by hand: the edge is the picture's, the rest is sure."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tools.nano import albums

HEIGHT, WIDTH = 120, 200


@pytest.fixture
def truth() -> np.ndarray:
    """A disc that leaves the picture below."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.hypot(x - 110, y - 95) < 50


@pytest.fixture
def pixels(truth) -> np.ndarray:
    """The disc, one half of it as dark as the ground."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = np.random.default_rng(0).integers(0, 20, (HEIGHT, WIDTH, 3))
    bright = truth & (x < 110)
    return (np.where(bright[..., None], [200, 150, 60], [30, 40, 35]) + noise).astype(np.uint8)


def outline(off: float) -> list[float]:
    """The disc as somebody draws it, `off` pixels too large or small by turns, in percent."""
    corners = []
    for i, angle in enumerate(np.linspace(0, 2 * np.pi, 24, endpoint=False)):
        radius = 50 + (off if i % 2 else -off)
        corners += [np.clip(110 + radius * np.cos(angle), 0, WIDTH) / WIDTH * 100,
                    np.clip(95 + radius * np.sin(angle), 0, HEIGHT) / HEIGHT * 100]
    return corners


def test_where_the_subject_stands_out_the_edge_is_found_and_elsewhere_the_outline_counts(pixels, truth):
    found = albums.matte(pixels, outline(2)) > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.85
    bright = np.s_[:, :105]
    assert (found[bright] & truth[bright]).sum() / (found[bright] | truth[bright]).sum() > 0.97
    assert found[-1, 80:140].all()  # at the border too


def test_the_cache_gets_scenes_portraits_cutouts_and_places(pixels, tmp_path, monkeypatch):
    for name in ("person.png", "cup.png", "hill.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.setattr(albums, "SHARE", tmp_path)
    monkeypatch.setattr(albums, "marked", lambda: {
        "subjects": {"person.png": {"person": "half", "outline": outline(0)},
                     "cup.png": {"kind": "thing", "outline": outline(0)}}, "places": ["hill.png"]})
    entries = [(kind, name, picture.shape) for kind, name, picture in albums.pictures()]
    assert [entry[:2] for entry in entries] == [
        ("portrait", "person.png"), ("human", "half"), ("scene", "cup.png"), ("thing", "cup.png"), ("place", "hill.png")]
    assert [shape[2] for *_, shape in entries] == [4, 4, 4, 4, 3]
    assert entries[1][2][1] < WIDTH == entries[0][2][1]


def test_outlines_lie_within_their_pictures():
    marked = albums.marked()
    assert len(marked["subjects"]) > 20 and len(marked["places"]) > 40
    for name, marks in marked["subjects"].items():
        assert set(marks) <= {"outline", "person", "kind"}, name
        assert marks.get("person", "half") in ("full", "half", "head"), name
        assert marks.get("kind", "thing") in ("animal", "thing"), name
        assert len(marks["outline"]) >= 16 and len(marks["outline"]) % 2 == 0, name
        assert all(0 <= value <= 100 for value in marks["outline"]), name
