"""The subject's box and the views of a matte."""

from __future__ import annotations

import pytest
import torch

from birefnet.imaging.boxes import Box, bounding_box, enclosing_box
from birefnet.matting.views import label_height, make_views

RED = torch.tensor([1.0, 0.0, 0.0])


def test_bounds_are_the_outermost_pixels():
    mask = torch.zeros(30, 40)
    assert bounding_box(mask) is None
    mask[7, 9], mask[20, 3], mask[5, 30] = 1, 0.2, 0.05
    assert bounding_box(mask) == Box(7, 3, 21, 10)
    assert bounding_box(mask, 0.5) == Box(7, 9, 8, 10)
    assert bounding_box(torch.ones(30, 40)) == Box(0, 0, 30, 40)


def test_around_several_boxes():
    assert enclosing_box([Box(1, 2, 3, 4), None, Box(0, 3, 2, 9)]) == Box(0, 2, 3, 9)
    assert enclosing_box([None]) is enclosing_box([]) is None


@pytest.fixture
def matte() -> torch.Tensor:
    """A half-transparent hair, a pixel wide, beside a solid block: [1,400,600]."""
    mask = torch.zeros(1, 400, 600)
    mask[:, 100:300, 100:300] = 1
    mask[:, 50:350, 500] = 0.5
    return mask


def cells(picture: torch.Tensor) -> list[torch.Tensor]:
    """Overlay, cut-out, alpha and edge band of `views`, without labels and lines."""
    height, width = picture.shape[1] // 2, picture.shape[2] // 2
    label = label_height(width - 2)
    return [picture[0, y + 1 + label:y + height - 1, x + 1:x + width - 1] for y in (0, height)
            for x in (0, width)]


@pytest.mark.parametrize("size, zoom", [(0, 1), (600, 1), (150, 0.25), (1200, 2)])
def test_each_view_shows_its_part(matte, size, zoom):
    image = torch.tensor([0.2, 0.6, 0.4]).expand(1, 400, 600, 3)
    overlay, cutout, alpha, band = cells(make_views(image, matte, RED, size))
    assert all(view.shape == (400 * zoom, 600 * zoom, 3) for view in (overlay, cutout, alpha, band))
    inside, outside, hair = (tuple(round(at * zoom) for at in place)
                             for place in ((200, 200), (350, 50), (200, 500)))
    for view in (overlay, cutout):
        torch.testing.assert_close(view[inside], image[0, 0, 0])
    assert overlay[outside][0] > 0.7 and overlay[outside][1] < 0.2
    assert cutout[outside].min() >= 0.8
    assert alpha[inside].tolist() == [1, 1, 1] and alpha[outside].tolist() == [0, 0, 0]
    assert band[inside][0] < 0.2 and band[outside][0] < 0.2
    at_edge, above = (round(100 * zoom), round(200 * zoom)), (round(100 * zoom) - 6, round(200 * zoom))
    assert band[at_edge][0] > 0.9 and band[above][0] < 0.2  # a hard edge shows, too
    # however small the view
    torch.testing.assert_close(band[hair], RED, atol=0.3 if zoom > 1 else 1e-6, rtol=0)


def test_every_view_is_named(matte):
    picture = make_views(torch.zeros(1, 400, 600, 3), matte, RED, 0)
    height, width = picture.shape[1] // 2, picture.shape[2] // 2
    for y in (0, height):
        for x in (0, width):
            assert picture[0, y + 1:y + label_height(600), x + 1:x + 90].max() > 0.8


def test_near_certain_is_no_edge():
    band = cells(make_views(torch.zeros(1, 40, 40, 3), torch.full((1, 40, 40), 254 / 255), RED, 0))[3]
    assert band.max() < 1e-6
