"""Colours as CSS writes them, and the sRGB transfer function."""

from __future__ import annotations

import pytest
import torch

from birefnet.composite import opaque_colour, parse_colour
from birefnet.imaging.colour import to_linear, to_srgb


@pytest.mark.parametrize("text, expected", [
    ("white", (1, 1, 1, 1)),
    ("  RebeccaPurple ", (0.4, 0.2, 0.6, 1)),
    ("#0f8", (0, 1, 8 / 15, 1)),
    ("#336699cc", (0.2, 0.4, 0.6, 0.8)),
    ("rgb(51, 102, 153)", (0.2, 0.4, 0.6, 1)),
    ("rgb(20% 40% 60%)", (0.2, 0.4, 0.6, 1)),
    ("rgba(51, 102, 153, 0.25)", (0.2, 0.4, 0.6, 0.25)),
    ("rgb(51 102 153 / 25%)", (0.2, 0.4, 0.6, 0.25)),
    ("rgb(300, -5, 0)", (1, 0, 0, 1)),
    ("hsl(210, 50%, 40%)", (0.2, 0.4, 0.6, 1)),
    ("hsl(570deg 50% 40%)", (0.2, 0.4, 0.6, 1)),
    ("hsl(210 50 40)", (0.2, 0.4, 0.6, 1)),
    ("transparent", (0, 0, 0, 0)),
])
def test_css_colours(text, expected):
    assert parse_colour(text) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("text",
                         ["", "whitish", "#12", "#xyzxyz", "rgb(1, 2)", "rgb(a, b, c)", "hsl(1, 2, 3, 4, 5)",
                                  "255, 255, 255"])
def test_what_is_no_colour(text):
    with pytest.raises(ValueError, match="expected a colour, got"):
        parse_colour(text)


def test_an_opaque_colour_is_asked_for():
    assert opaque_colour("#0f8", "").tolist() == pytest.approx([0, 1, 8 / 15])
    with pytest.raises(ValueError, match="^Choose an opaque colour, not '#336699cc': take another"):
        opaque_colour("#336699cc", "take another")


def pixels(values: torch.Tensor) -> torch.Tensor:
    """A row [1,N,3] of grey pixels."""
    return values[None, :, None].expand(-1, -1, 3)


def test_the_transfer_function_of_the_standard():
    """IEC 61966-2-1: the linear toe below 0.04045, the power above; mid-grey by hand."""
    srgb = torch.tensor([0.0, 0.02, 0.04045, 0.5, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.02 / 12.92, 0.04045 / 12.92, (0.555 / 1.055) ** 2.4, 1.0],
                            dtype=torch.float64)
    torch.testing.assert_close(to_linear(pixels(srgb)), pixels(expected))


def test_every_8_bit_value_survives_the_way_there_and_back():
    levels = pixels(torch.arange(256) / 255)
    torch.testing.assert_close(to_srgb(to_linear(levels)), levels, atol=2e-7, rtol=0)
