"""Points as text: what KJNodes' point editor and ComfyUI's SAM 3 nodes write, and what is none."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture(scope="module")
def points_of(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.host.points").points_of


@pytest.mark.parametrize("text, expected", [
    ("", []),
    (" \n", []),
    ("[]", []),
    ('[{"x": 120, "y": 80}]', [(120, 80)]),
    ('[{"x":120.9,"y":80.2},{"x":0,"y":3}]', [(120, 80), (0, 3)]),
    ("[[120, 80], [7, 5.5]]", [(120, 80), (7, 5)]),
])
def test_points_are_read(points_of, text, expected):
    assert points_of(text) == expected


@pytest.mark.parametrize("text",
                         ["12, 34", "{}x", '{"x": 1, "y": 2}', '[{"x": 1}]', "[[1]]", "[1, 2]", "[[1, null]]",
                                  '[{"x": "1", "y": 2}]', "[[NaN, 1]]", "[[1e400, 1]]", "[[true, 1]]",
                          "[" * 100_000])
def test_what_is_no_list_of_points_is_refused_in_one_line(points_of, text):
    with pytest.raises(ValueError, match=r"^Write points as \[\{") as caught:
        points_of(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
