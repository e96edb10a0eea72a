"""The help pages' pictures: every node has one, made by pages.py or as it says; retake.py makes all of them,
and the templates' cards. No host is started."""

from __future__ import annotations

import json
import re

import cards
import pages
import pytest
import retake
from host import PACK
from pages import DOCS, ELSEWHERE, HEAVIEST, ON_THE_PAGE, PANELS
from PIL import Image

NODES = set(json.loads((PACK / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8")))
MADE = {*PANELS, *ON_THE_PAGE}


def test_each_nodes_picture_is_made_by_one():
    assert {name for name in MADE if "-" not in name} | ELSEWHERE == NODES
    assert len(MADE | ELSEWHERE) == len(PANELS) + len(ON_THE_PAGE) + len(ELSEWHERE)


def test_each_page_shows_its_own_picture_and_none_is_left_over():
    """Further pictures are named by the node's name, a hyphen and a word."""
    seen = []
    for node in NODES:
        page = (DOCS / f"{node}.md").read_text(encoding="utf-8")
        first, *more = re.findall(r"!\[.+\]\((.+)\)", page)
        assert first == f"{node}.jpg" and all(name.startswith(f"{node}-") for name in more)
        seen += [first, *more]
    assert set(seen) == {f"{name}.jpg" for name in MADE | ELSEWHERE}
    assert {file.name for file in DOCS.glob("*.jpg")} == set(seen)


def test_no_picture_is_heavy():
    assert [name for name in MADE if (DOCS / f"{name}.jpg").stat().st_size > HEAVIEST] == []


def test_all_pictures_are_retaken_or_those_that_are_named():
    templates = [file.stem for file in (PACK / "example_workflows").glob("*.json")]
    assert sorted(retake.named([])) == sorted([*MADE, *templates])
    assert retake.named(["BiRefNet 07", "BiRefTrimap"]) == ["BiRefTrimap",
                                                            "BiRefNet 07 Video to Green Screen"]
    with pytest.raises(SystemExit, match="not made here: BiRefNothing"):
        retake.named(["BiRefNothing"])


def test_a_picture_that_fails_does_not_keep_others_from_being_retaken(monkeypatch):
    made = []

    def make(host, wanted):
        if "BiRefTrimap" in wanted:
            raise TimeoutError
        made.extend(wanted)

    monkeypatch.setattr(pages, "make", make)
    monkeypatch.setattr(cards, "make", make)
    card = "BiRefNet 01 Remove Background"
    assert retake.make(None, ["BiRefSegment", "BiRefTrimap", card]) == ["BiRefTrimap"]
    assert made == ["BiRefSegment", card]


def test_a_picture_with_much_detail_is_saved_light_enough(monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    pages.save("noise", Image.effect_noise((400, 480), 40).convert("RGB"))
    assert 45_000 < (tmp_path / "noise.jpg").stat().st_size <= HEAVIEST
