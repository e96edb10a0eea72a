"""Searching a picture for the subject of a click: past crops that miss it, and until it is whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from birefnet.imaging.boxes import Box
from birefnet.matting.subject import Prompt
from birefnet.matting.subject.search import View, search

HEIGHT, WIDTH = 200, 400
WHOLE = Box(0, 0, HEIGHT, WIDTH)
CLICK = Prompt(points=((100, 50),))
HALF, QUARTER = Box(0, 0, 100, 200), Box(25, 50, 75, 150)


def looking(subject: Box, alpha_of_crop: Callable[[Box], float]) -> tuple[Callable[[Box], View], list[Box]]:
    """A `look_at` that sees a rectangle with the alpha that is told for each crop, and the crops it sees."""
    seen = []

    def look_at(crop: Box) -> View:
        seen.append(crop)
        alpha = torch.zeros(1, HEIGHT, WIDTH)
        rows, columns = crop.intersection(subject).slices
        alpha[0, rows, columns] = alpha_of_crop(crop)
        return View(crop, alpha, (alpha > 0).float())

    return look_at, seen


def test_a_crop_that_misses_the_subject_is_passed_over():
    """With alpha .1 under the click the whole picture shows less than the half of it, which shows all."""
    look_at, seen = looking(Box(30, 60, 80, 150), lambda crop: 0.1 if crop == WHOLE else 1.0)
    view = search(look_at, CLICK, 0.25, HEIGHT, WIDTH)
    assert view.seen == HALF and seen == [WHOLE, HALF]


def test_a_subject_that_the_crop_cuts_is_looked_at_wider():
    look_at, seen = looking(Box(30, 0, 160, 110), lambda crop: 0.1 if crop in (WHOLE, HALF) else 1.0)
    view = search(look_at, CLICK, 0.25, HEIGHT, WIDTH)
    assert seen[2:] == [QUARTER, Box(0, 0, 125, 200), Box(0, 0, 200, 300)]
    assert view.seen == seen[-1] and not view.cuts_subject()
    assert float(view.alpha.sum()) == 130 * 110


def test_a_wider_crop_that_loses_the_subject_is_not_taken():
    look_at, seen = looking(Box(30, 0, 160, 110), lambda crop: float(crop == QUARTER))
    assert search(look_at, CLICK, 0.25, HEIGHT, WIDTH).seen == QUARTER
    assert len(seen) == 4


@pytest.mark.parametrize("level, found", [(0.1, WHOLE), (0.01, None)])
def test_what_is_faint_everywhere_is_taken_from_the_first_crop(level, found):
    look_at, seen = looking(Box(30, 60, 80, 150), lambda crop: level)
    view = search(look_at, CLICK, 0.25, HEIGHT, WIDTH)
    assert (view and view.seen) == found and seen == [WHOLE, HALF, QUARTER]


def test_a_box_is_looked_at_once():
    """It tells how far the subject reaches."""
    look_at, seen = looking(WHOLE, lambda crop: 1.0)
    assert search(look_at, Prompt(box=Box(20, 40, 60, 80)), 0.25, HEIGHT, WIDTH).seen == Box(10, 30, 70, 90)
    assert len(seen) == 1
