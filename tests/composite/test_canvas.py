"""Backgrounds brought to the canvas's size, and where the subject goes."""

from __future__ import annotations

import pytest
import torch

from birefnet.composite import FITS, fit_to_canvas, place_subject

GREEN = torch.tensor([0.0, 1.0, 0.0])


def ramp(height: int, width: int) -> torch.Tensor:
    """Red grows to the right, blue downwards: [1,height,width,3]."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    red, blue = (x / width).expand(height, -1), (y / height)[:, None].expand(-1, width)
    return torch.stack([red, torch.zeros(height, width), blue], -1)[None]


def test_fill_covers_and_cuts_both_sides_alike():
    result = fit_to_canvas(ramp(100, 300), (100, 100), "fill", GREEN)
    assert torch.equal(result, ramp(100, 300)[:, :, 100:200])
    enlarged = fit_to_canvas(ramp(100, 300), (200, 200), "fill", GREEN)[0]
    assert enlarged[..., 0].mean() == pytest.approx(0.5, abs=1e-4) and not enlarged[..., 1].any()
    assert enlarged[100, 10, 0] == pytest.approx((100 + 10.5 / 2) / 300, abs=1e-4)


def test_fit_shows_all_with_colour_beside_it():
    result = fit_to_canvas(ramp(100, 300), (100, 100), "fit", GREEN)[0]
    assert torch.equal(result[:32], GREEN.expand(32, 100, 3))
    assert torch.equal(result[-32:], GREEN.expand(32, 100, 3))
    middle = result[40:60]
    assert not middle[..., 1].any() and middle[:, 0, 0].mean() < 0.02 and middle[:, -1, 0].mean() > 0.98


def test_stretch_takes_both_sides():
    torch.testing.assert_close(fit_to_canvas(ramp(100, 300), (50, 60), "stretch", GREEN)[:, 5:-5, 5:-5],
                               ramp(50, 60)[:, 5:-5, 5:-5], atol=1e-5, rtol=0)


def test_tile_repeats_from_the_corner():
    tile = ramp(30, 40)
    result = fit_to_canvas(tile, (70, 100), "tile", GREEN)
    assert torch.equal(result[:, 30:60, 40:80], tile) and torch.equal(result[:, 60:, 80:], tile[:, :10, :20])


@pytest.mark.parametrize("fit", FITS)
def test_its_own_size_is_an_exact_copy(fit):
    assert torch.equal(fit_to_canvas(ramp(33, 47), (33, 47), fit, GREEN), ramp(33, 47))


@pytest.mark.parametrize("fit", FITS)
def test_colour_shows_through_what_is_transparent(fit):
    half = torch.cat([torch.ones(1, 20, 20, 3), torch.full((1, 20, 20, 1), 0.25)], -1)
    torch.testing.assert_close(fit_to_canvas(half, (20, 20), fit, GREEN)[0, 10, 10],
                               torch.tensor([0.25, 1.0, 0.25]))


def test_an_unknown_fit():
    with pytest.raises(ValueError, match="^Choose a fit of fill, fit, stretch, tile: it is 'cover'"):
        fit_to_canvas(ramp(3, 3), (3, 3), "cover", GREEN)


BOX = (20, 10, 80, 40)  # rows 20 to 80, columns 10 to 40 of a picture of 100×100


def subject_on_canvas(position: str, canvas: tuple[int, int], **changes) -> tuple[float, ...]:
    """Top, left, bottom and right of BOX as it lies on the canvas."""
    where = place_subject(position, (100, 100), canvas, BOX, **changes)
    top, left, bottom, right = BOX
    return tuple(corner + side * where.scale for corner, side in
                 ((where.top, top), (where.left, left), (where.top, bottom), (where.left, right)))


@pytest.mark.parametrize("position, canvas, changes, expected", [
    ("in place", (100, 100), {}, BOX),
    ("in place", (100, 200), {}, (20, 60, 80, 90)),  # the picture in the canvas's middle
    ("in place", (50, 50), {}, (10, 5, 40, 20)),
    ("in place", (100, 100), {"scale": 0.5}, (35, 17.5, 65, 32.5)),  # about its centre, (50, 25)
    ("in place", (100, 100), {"x": 2.5, "y": -3}, (17, 12.5, 77, 42.5)),
    ("top left", (300, 300), {}, BOX),
    ("top left", (300, 300), {"scale": 2, "x": 5, "y": 7}, (47, 25, 167, 85)),
    ("centre", (120, 200), {}, (0, 70, 120, 130)),  # as high as the canvas
    ("centre", (120, 200), {"scale": 0.5}, (30, 85, 90, 115)),
    ("bottom", (120, 200), {"scale": 0.5}, (60, 85, 120, 115)),
    ("bottom", (120, 30), {"y": -10}, (50, 0, 110, 30)),  # as wide as the canvas
])
def test_where_the_subject_goes(position, canvas, changes, expected):
    assert subject_on_canvas(position, canvas, **changes) == pytest.approx(expected)


def test_what_the_canvas_shows_of_the_picture():
    where = place_subject("in place", (100, 100), (100, 100), BOX, 0.5)
    top, left, bottom, right = where.visible_box((100, 100))
    assert (bottom - top, right - left) == (200, 200) and (top, left) == (-50, -25)


@pytest.mark.parametrize("position, canvas, changes, pivot", [
    ("in place", (100, 200), {}, (50, 75)),
    ("top left", (300, 300), {"scale": 2, "x": 5, "y": 7}, (107, 55)),
    ("centre", (120, 200), {"x": -4}, (60, 96)),
    ("bottom", (120, 200), {"scale": 0.5}, (90, 100)),
])
def test_a_turn_is_around_the_subjects_middle(position, canvas, changes, pivot):
    straight = place_subject(position, (100, 100), canvas, BOX, **changes)
    turned = place_subject(position, (100, 100), canvas, BOX, **changes, rotation=30)
    assert turned == straight._replace(rotation=30, pivot=pytest.approx(pivot))


def test_an_unknown_position():
    with pytest.raises(ValueError, match="^Choose a position of in place, .*: it is 'left'"):
        place_subject("left", (1, 1), (1, 1), (0, 0, 1, 1))
