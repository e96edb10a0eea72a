"""What is kept of rendered models; rendering itself needs VTK, a training-only package."""

from __future__ import annotations

import numpy as np
import pytest

from tools.nano.furniture import PASSED_OVER, PEOPLE
from tools.nano.photographs import crop_to_subject


def drawn(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    pixels = np.zeros((300, 300, 4), np.uint8)
    pixels[top:bottom, left:right] = (200, 100, 50, 255)
    return pixels


def test_empty_borders_are_cut_off_and_the_rest_reduced():
    assert crop_to_subject(drawn(20, 220, 50, 150), 300).shape == (200, 100, 4)
    assert crop_to_subject(drawn(20, 220, 50, 150), 100).shape == (100, 50, 4)


def test_a_share_of_a_figure_is_its_upper_part():
    figure = drawn(0, 200, 100, 150) + drawn(150, 200, 50, 100)  # a foot to one side
    assert crop_to_subject(figure, 300, keep=0.5).shape == (100, 50, 4)


@pytest.mark.parametrize("edges", [(10, 12, 0, 300), (0, 300, 10, 12), (0, 0, 0, 0)])
def test_what_is_next_to_nothing_is_left_out(edges):
    assert crop_to_subject(drawn(*edges), 300) is None


@pytest.mark.parametrize("name", ["front_door", "double-plug-TypeE", "window", "fleche-tout-droit"])
def test_parts_of_buildings_are_passed_over(name):
    assert PASSED_OVER.search(name)


@pytest.mark.parametrize("name, person", [
    ("holdingMale01", True), ("sitFemale02", True), ("boyLying", True), ("girlStanding", True),
    ("manhole-cover", False), ("chair2", False)])
def test_people_are_known_by_their_names(name, person):
    assert bool(PEOPLE.search(name)) == person
