"""Trimaps: exact widths, against the distance to every pixel."""

from __future__ import annotations

import pytest
import torch

from birefnet import masks
from birefnet.masks.trimaps import dilate


def spots(height: int, width: int, share: float) -> torch.Tensor:
    return torch.rand(height, width, generator=torch.Generator().manual_seed(height)) < share


@pytest.mark.parametrize("pixels", [0, 0.4, 0.5, 0.6, 1, 1.5, 2.49, 2.5, 3, 7.3, 20, 500])
@pytest.mark.parametrize("shape", [(40, 57), (1, 30), (30, 1), (60, 90)])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 1])
def test_widening_is_by_exact_euclidean_distance(pixels, shape, share):
    region = spots(*shape, share)
    every_pixel = torch.ones(shape).nonzero().double()
    beyond = torch.full((1, 2), -1e6).double()  # as far away as nothing is
    set_pixels = torch.cat([region.nonzero().double(), beyond])
    distance = torch.cdist(every_pixel, set_pixels,
                           compute_mode="donot_use_mm_for_euclid_dist").amin(1).view(shape)
    assert torch.equal(dilate(region, pixels), distance < pixels + 0.5)


@pytest.mark.parametrize("pixels", [1, 4, 13])
def test_widening_is_the_same_as_growing(pixels):
    region = spots(90, 70, 0.01)
    assert torch.equal(dilate(region, pixels), masks.grow(region[None].float(), pixels)[0] > 0)


def test_the_band_is_as_wide_as_asked_on_either_side_of_a_hard_edge():
    mask = (torch.arange(60) < 30).float().expand(2, 8, 60)
    expected = torch.cat([torch.ones(23), torch.full((7 + 12,), 0.5), torch.zeros(18)]).expand(2, 8, 60)
    assert torch.equal(masks.trimap(mask, 7, 12), expected)


def test_what_lies_between_the_thresholds_is_unknown():
    mask = torch.tensor([[[0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0]]])
    assert masks.trimap(mask, 0, 0, 0.1, 0.9).tolist() == [[[0, 0, 0.5, 0.5, 0.5, 1, 1]]]
    assert masks.trimap(mask, 0, 1, 0.1, 0.9).tolist() == [[[0, 0.5, 0.5, 0.5, 0.5, 1, 1]]]
    assert masks.trimap(mask, 1, 0, 0.1, 0.9).tolist() == [[[0, 0, 0.5, 0.5, 0.5, 0.5, 1]]]


def test_the_frame_is_no_edge():
    assert torch.equal(masks.trimap(torch.ones(1, 20, 30), 9, 9), torch.ones(1, 20, 30))
    assert torch.equal(masks.trimap(torch.zeros(1, 20, 30), 9, 9), torch.zeros(1, 20, 30))


def test_an_empty_batch_and_half_precision_pass():
    assert masks.trimap(torch.zeros(0, 4, 4), 1, 1).shape == (0, 4, 4)
    assert masks.trimap(torch.ones(1, 4, 4).half(), 1, 1).dtype == torch.half


@pytest.mark.parametrize("settings, words", [
    ((1, 1, 0.9, 0.1), "background 0.9 and subject 0.1"),
    ((1, 1, float("nan"), 1.0), "background nan"),
    ((-1, 1), "-1 inward"),
])
def test_settings_that_cannot_be_are_told(settings, words):
    with pytest.raises(ValueError, match=words):
        masks.trimap(torch.zeros(1, 4, 4), *settings)
