"""One of two subjects, by box and point: with the included checkpoint, and with networks made up here."""

from __future__ import annotations

import pytest
import torch

from birefnet.imaging.boxes import Box, bounding_box
from birefnet.matting import subject

NAMES = ("astronaut", "coffee")
POINTS = {"astronaut": [(290, 420), (275, 240)], "coffee": [(850, 420), (730, 480)]}
LEAST_IOU = 0.85  # measured: .90 to .98


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum())


def boxed(mask: torch.Tensor) -> Box:
    return bounding_box(mask[0], 0.5)


def test_both_are_found_where_nobody_chooses(image, known, nano):
    assert iou(nano(image), known["astronaut"].maximum(known["coffee"])) > LEAST_IOU


@pytest.mark.parametrize("name", NAMES)
def test_the_one_in_the_box(image, known, nano, name):
    assert iou(subject.in_box(nano, image, boxed(known[name])), known[name]) > LEAST_IOU


@pytest.mark.parametrize("name, point", [(name, point) for name in NAMES for point in POINTS[name]])
def test_the_one_under_the_point(image, known, nano, name, point):
    assert iou(subject.at_point(nano, image, *point), known[name]) > LEAST_IOU


@pytest.mark.parametrize("name, other", [NAMES, NAMES[::-1]])
def test_a_neighbour_within_the_crop_is_left_out(image, known, name, other):
    """A network that always finds all there is, and so much context that the crop holds both."""
    both = known["astronaut"].maximum(known["coffee"])[..., None]
    for found in (subject.in_box(all_there_is, both, boxed(known[name]), 2.0),
                  subject.at_point(all_there_is, both, *POINTS[name][0], 2.0)):
        assert iou(found, known[name]) > 0.97
        assert found[known[other] > 0].max() == 0


def all_there_is(pictures: torch.Tensor) -> torch.Tensor:
    return pictures[..., 0]


def test_the_mask_is_the_network_s_own_to_the_last_bit_and_0_outside_the_crop(image, known, nano):
    """Soft edges included: nothing is blurred, moved or rescaled on the way back."""
    box = subject.widen_box(boxed(known["coffee"]), 0.25, 640, 1200)
    inside = (slice(None), slice(box.top, box.bottom), slice(box.left, box.right))
    found = subject.in_box(nano, image, boxed(known["coffee"]))
    direct = nano(image[inside])
    kept = found[inside] > 0
    assert torch.equal(found[inside][kept], direct[kept]) and kept.float().mean() > 0.3
    outside = torch.ones_like(found, dtype=bool)
    outside[inside] = False
    assert found[outside].max() == 0


def test_a_subject_overlooked_in_the_whole_picture_is_found_near_the_point():
    """A network that sees nothing smaller than a tenth of what it is shown."""
    small = torch.zeros(1, 400, 600, 1)
    small[:, 300:340, 480:530] = 1

    def short_sighted(pictures):
        return pictures[..., 0] * (pictures.mean() > 0.03)

    assert short_sighted(small).max() == 0
    assert torch.equal(subject.at_point(short_sighted, small, 500, 320), small[..., 0])


def test_a_closer_look_that_loses_the_subject_is_not_taken(known):
    """A network that knows the cup in the whole picture only."""
    cup = known["coffee"][..., None]

    def whole_only(pictures):
        return pictures[..., 0] * (pictures.shape[2] == 1200)

    assert torch.equal(subject.at_point(whole_only, cup, 850, 420), known["coffee"])


@pytest.mark.parametrize("pick", [lambda ask, image: subject.in_box(ask, image, Box(10, 10, 60, 60)),
                                  lambda ask, image: subject.at_point(ask, image, 30, 30)])
def test_where_nothing_is_found_the_mask_is_empty(pick):
    assert torch.equal(pick(all_there_is, torch.zeros(1, 80, 90, 3)), torch.zeros(1, 80, 90))


@pytest.mark.parametrize("pick, words", [
    (lambda image: subject.in_box(all_there_is, image, Box(100, 0, 120, 40)), "lies outside the picture "
                                                                              "of 90×80"),
    (lambda image: subject.at_point(all_there_is, image, 90, 10), "with x from 0 to 89"),
    (lambda image: subject.at_point(all_there_is, image, 10, -1), "y from 0 to 79"),
])
def test_coordinates_outside_the_picture_are_refused(pick, words):
    with pytest.raises(ValueError, match=words):
        pick(torch.zeros(1, 80, 90, 3))


def test_a_closer_look_that_finds_only_haze_changes_nothing():
    """The whole picture shows a subject clearly, a crop around it the same only faintly."""
    picture = torch.zeros(1, 100, 100, 3)
    picture[:, 40:60, 40:60] = 1

    def alpha_of(pictures: torch.Tensor) -> torch.Tensor:
        return pictures[..., 0] * (0.55 if pictures.shape[1] == 100 else 0.45)

    found = subject.at_point(alpha_of, picture, 50, 50)
    assert torch.equal(found, alpha_of(picture))
