"""What lies behind the subject, kind by kind."""

from __future__ import annotations

import pytest
import torch

from birefnet.composite import BACKGROUNDS, Background, fit_to_canvas
from birefnet.composite.background import defocus, remove_subject

GREEN = torch.tensor([0.0, 1.0, 0.0])


def background(kind: str, **changes) -> Background:
    return Background(**{"kind": kind, "colour": GREEN, "fit": "fill", "blur": 0.1,
                         "linear_light": False} | changes)


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def alpha() -> torch.Tensor:
    alpha = torch.zeros(1, 40, 60)
    alpha[:, 10:30, 20:40] = 1
    return alpha


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_every_kind_fills_the_canvas(picture, alpha, kind):
    found = background(kind).render(picture, alpha, (30, 50), torch.rand(1, 20, 20, 1))
    assert found is None if kind == "transparent" else found.shape == (1, 30, 50, 3)


def test_a_colour_is_everywhere(picture, alpha):
    assert torch.equal(background("colour").render(picture, alpha, (7, 5)), GREEN.expand(1, 7, 5, 3))


def test_the_blur_is_a_share_of_the_longer_side_of_what_is_blurred(picture, alpha):
    """Of the canvas for another picture, of the picture itself for its own background."""
    other, canvas = torch.rand(1, 20, 30, 3), (20, 120)
    expected = defocus(fit_to_canvas(other, canvas, "fit", GREEN), 12)
    assert torch.equal(background("blurred image", fit="fit").render(picture, alpha, canvas, other), expected)
    expected = fit_to_canvas(remove_subject(picture, alpha, 6, True), canvas, "fit", GREEN)
    own = background("blurred original", fit="fit", linear_light=True)
    assert torch.equal(own.render(picture, alpha, canvas, other), expected)


def test_what_is_missing_or_unknown_is_told(picture, alpha):
    with pytest.raises(ValueError, match="^Give another picture, .*'blurred image'"):
        background("blurred image").render(picture, alpha, (30, 50))
    with pytest.raises(ValueError, match="^Choose a background of colour, .*: it is 'sky'"):
        background("sky")


def test_the_blurred_original_knows_nothing_of_the_subject():
    """A red subject before a blue wall: all blue, also where it stood; a plain blur would glow red around
    it."""
    alpha = torch.zeros(1, 200, 300)
    alpha[:, 50:150, 80:200] = 1
    image = torch.lerp(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]), alpha[..., None])
    result = remove_subject(image, alpha, 8)
    assert result[..., 0].max() < 0.02 and result[..., 2].min() > 0.98
    assert defocus(image, 8)[0, 45, 140, 0] > 0.2


def test_a_picture_that_is_all_subject_still_has_a_background():
    image = torch.full((1, 40, 40, 3), 0.25)
    torch.testing.assert_close(remove_subject(image, torch.ones(1, 40, 40), 5), image)


def test_linear_light_keeps_bright_spots_bright():
    image = torch.zeros(1, 41, 41, 3)
    image[:, 15:26, 15:26] = 1
    assert defocus(image, 8, linear_light=True)[0, 20, 20].min() > 1.3 * defocus(image, 8)[0, 20, 20].max()
