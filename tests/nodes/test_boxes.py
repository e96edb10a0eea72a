"""What detectors and other packs send as bounding boxes, and plain numbers."""

from __future__ import annotations

import importlib

import pytest

A, B, C = ({"x": x, "y": 2.5, "width": 10, "height": 20.2, "label": "cup", "score": 0.9}
           for x in (1, 50, 90.9))
NOTHING = {"x": 0, "y": 0, "width": 0, "height": 0}  # as Inspect Matte tells that there is no subject
BOXES = {"A": (2, 1, 23, 11), "B": (2, 50, 23, 60), "C": (2, 90, 23, 101)}


@pytest.fixture(scope="module")
def boxes(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.host.boxes")


@pytest.mark.parametrize("given, frames, expected", [
    (A, 1, ["A"]), (A, 3, ["A", "A", "A"]), ([A, B], 1, ["AB"]), ([A, B], 2, ["AB", "AB"]),
    ([[A], [B]], 2, ["A", "B"]),
    ({**A, "width": 0}, 2, ["", ""]), ([[A, {**B, "height": 0}], [NOTHING]], 2, ["A", ""]),
    ([[A, C]], 2, ["AC", "AC"]),
    ([[], [B]], 2, ["", "B"]), ([], 2, ["", ""]), ([[]], 2, ["", ""]), (A, 0, []),
])
def test_boxes_of_each_frame(boxes, given, frames, expected):
    assert boxes.boxes_per_frame(given, frames) == [[BOXES[name] for name in names] for names in expected]


@pytest.mark.parametrize("given, frame, expected", [
    (A, 0, "A"), (A, 7, "A"), ([A, B], 7, "AB"), ([[A, B]], 7, "AB"), ([[A], [], [B]], 2, "B"),
    ([[A], [], [B]], 1, ""), ([], 0, ""), ([[NOTHING]], 0, ""),
])
def test_boxes_of_one_frame_of_a_clip(boxes, given, frame, expected):
    assert boxes.boxes_of_frame(given, frame) == [BOXES[name] for name in expected]


def test_a_frame_without_a_list_of_boxes_is_said(boxes):
    with pytest.raises(ValueError, match="^Set frame to 0 to 1: bboxes are those of 2 frames"):
        boxes.boxes_of_frame([[A], [B]], 2)


@pytest.mark.parametrize("given, words", [
    ("10,20,30,40", "^Connect a BOUNDING_BOX"), ([[A], [B]], "got boxes for 2 pictures"),
    ([{"x": 1, "y": 2}], "x, y, width and height"), ([{**A, "width": -1}], "x, y, width and height"),
    ([{**A, "x": float("nan")}], "x, y, width and height"), ([[1, 2, 3, 4]], "x, y, width and height"),
])
def test_what_is_no_box_is_said(boxes, given, words):
    with pytest.raises(ValueError, match=words):
        boxes.boxes_per_frame(given, 3)


def test_plain_numbers(boxes):
    assert boxes.box_of(5, 6, 20, 30, (100, 200)) == (6, 5, 36, 25)
    assert boxes.box_of(5, 6, 0, 0, (100, 200)) == (6, 5, 100, 200)
    assert boxes.box_of(0, 0, 0, 0, (100, 200)) == (0, 0, 100, 200)
