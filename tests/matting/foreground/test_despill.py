"""Light of a green or blue screen on the subject: removed by `despill`, in linear light."""

from __future__ import annotations

import pytest
import torch

from birefnet.files.errors import UserError
from birefnet.imaging.colour import to_linear, to_srgb
from birefnet.matting import foreground

GREEN, BLUE = torch.tensor([0.0, 0.69, 0.25]), torch.tensor([0.1, 0.2, 0.8])


def lit(colours: torch.Tensor, screen: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """sRGB colours [...,3] with a share of a screen's light added."""
    return to_srgb(to_linear(colours) + share[..., None] * to_linear(screen.view(1, 1, 3)))


def greys(height: int = 12, width: int = 10) -> torch.Tensor:
    return torch.linspace(0.1, 0.7, height * width).view(1, height, width, 1).expand(-1, -1, -1, 3)


@pytest.mark.parametrize("limit", foreground.LIMITS)
@pytest.mark.parametrize("screen", [GREEN, BLUE])
def test_grey_under_a_screens_light_is_restored_exactly(screen, limit):
    share = torch.rand(1, 12, 10, generator=torch.Generator().manual_seed(0)) * 0.4
    spoilt = lit(greys(), screen, share)
    assert (spoilt - greys()).abs().max() > 0.1
    assert (foreground.despill(spoilt, screen, limit) - greys()).abs().max() < 2e-5


def test_the_strength_is_a_share_of_the_light():
    spoilt = lit(greys(), GREEN, torch.full((1, 12, 10), 0.3))
    half = foreground.despill(spoilt, GREEN, strength=0.5)
    assert (half - lit(greys(), GREEN, torch.full((1, 12, 10), 0.15))).abs().max() < 2e-5
    assert torch.equal(foreground.despill(spoilt, GREEN, strength=0), spoilt)


def test_colours_without_spill_are_the_same_bit_for_bit():
    image = torch.tensor([[0.9, 0.4, 0.3], [0.2, 0.2, 0.2], [1, 0, 1], [0, 0, 0]]).view(1, 2, 2, 3)
    assert torch.equal(foreground.despill(image, GREEN), image)
    yellow = torch.tensor([0.9, 0.8, 0.1]).expand(1, 2, 2, 3)
    assert torch.equal(foreground.despill(yellow, GREEN, "maximum"), yellow)
    assert (foreground.despill(yellow, GREEN, "average") - yellow).abs().max() > 0.1


def test_linear_light_of_any_brightness():
    light = greys() * 8
    spoilt = light + 0.5 * GREEN
    assert (foreground.despill(spoilt, GREEN, linear=True) - light).abs().max() < 1e-5


def test_every_picture_has_a_screen_of_its_own():
    share = torch.full((2, 12, 10), 0.2)
    spoilt = torch.cat([lit(greys(), screen, share[:1]) for screen in (GREEN, BLUE)])
    found = foreground.despill(spoilt, torch.stack([GREEN, BLUE]))
    assert (found - greys()).abs().max() < 2e-5


@pytest.mark.parametrize("screen", [GREEN, BLUE])
def test_the_screen_is_measured_along_the_border(screen):
    image = screen.expand(60, 80, 3).clone() + 0.02 * torch.randn(60, 80, 3,
                                                                  generator=torch.Generator().manual_seed(1))
    alpha = torch.zeros(60, 80)
    # a subject that reaches the lower border
    image[10:, 20:60], alpha[10:, 20:60] = torch.tensor([0.8, 0.5, 0.4]), 1
    assert (foreground.measure_screen(image.clamp(0, 1), alpha) - screen).abs().max() < 0.01


def test_where_the_border_is_covered_the_whole_background_counts():
    image, alpha = torch.full((60, 80, 3), 0.5), torch.ones(60, 80)
    image[25:35, 30:50], alpha[25:35, 30:50] = GREEN, 0
    assert torch.equal(foreground.measure_screen(image, alpha), GREEN)


@pytest.mark.parametrize(("image", "alpha", "words"), [
    (torch.full((8, 8, 3), 0.5), torch.zeros(8, 8), "Set the colour of a green or blue screen"),
    (torch.tensor([1.0, 0, 0]).expand(8, 8, 3), torch.zeros(8, 8), "Set the colour of a green or blue "
                                                                   "screen"),
    (GREEN.expand(8, 8, 3), torch.ones(8, 8), "no background is left")])
def test_no_screen_is_one_sentence(image, alpha, words):
    with pytest.raises(UserError, match=words):
        foreground.measure_screen(image, alpha)


def test_a_picture_without_background_raises_an_error_of_its_own():
    with pytest.raises(foreground.NoBackgroundError):
        foreground.measure_screen(GREEN.expand(8, 8, 3), torch.ones(8, 8))


def test_values_that_are_not_finite_are_found():
    image, alpha = greys().clone(), torch.ones(1, 12, 10)
    image[0, 3, 4, 1] = torch.nan
    for call in (lambda: foreground.estimate(image, alpha), lambda: foreground.despill(image, GREEN),
                 lambda: foreground.estimate(greys(), alpha / 0)):
        with pytest.raises(UserError, match="Check what made the (image|alpha): [0-9]+ of its [0-9]+ values "
                                            "are NaN"):
            call()


@pytest.mark.parametrize("method", foreground.METHODS)
def test_bright_light_keeps_its_brightness(method):
    image = torch.full((1, 24, 24, 3), 6.5)
    image[..., 12:, :] = 0.1
    alpha = (torch.arange(24.0) < 11).float().expand(1, 24, 24).clone()
    alpha[..., 11:13] = 0.5
    found = foreground.estimate(image, alpha, method)
    assert torch.equal(found[..., :11, :], image[..., :11, :]) and found.max() > 6
