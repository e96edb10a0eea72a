"""region_at and regions_within: whole regions with their soft fringe, nothing of the others."""

from __future__ import annotations

import pytest
import torch

from birefnet import masks
from birefnet.masks.pick import region_at, regions_within


@pytest.fixture
def two() -> torch.Tensor:
    """Two soft squares, [1,60,100]: the left one in columns 10 to 39, the right one in 60 to 89."""
    mask = torch.zeros(1, 60, 100)
    mask[:, 15:45, 10:40] = mask[:, 15:45, 60:90] = 1
    mask = masks.feather(mask, 4)
    return mask * (mask > 0.01)  # what nobody sees is nobody's fringe


def left_of(mask: torch.Tensor) -> torch.Tensor:
    return mask * (torch.arange(mask.shape[2]) < 50)


def test_the_region_under_the_point_with_its_fringe(two):
    assert torch.equal(region_at(two, 20, 30), left_of(two))
    assert torch.equal(region_at(two, 80, 30), two - left_of(two))


@pytest.mark.parametrize("x, y", [(50, 30), (0, 0), (99, 59), (20, 50)])
def test_beside_all_regions_there_is_none(two, x, y):
    assert region_at(two, x, y).max() == 0


def test_every_pixel_of_a_region_leads_to_it(two):
    solid = (left_of(two)[0] >= 0.1).nonzero().tolist()
    corners = [solid[0], solid[-1], min(solid, key=lambda at: at[1]), max(solid, key=lambda at: at[1])]
    assert all(torch.equal(region_at(two, x, y), left_of(two)) for y, x in corners)


def test_regions_mostly_within_an_area(two):
    area = torch.zeros(60, 100)
    area[:, :70] = 1  # all of the left one, a third of the right one
    assert torch.equal(regions_within(two, area), left_of(two))
    area[:, :80] = 1  # and now two thirds of it
    assert torch.equal(regions_within(two, area), two)


def test_the_one_that_is_most_within_if_none_mostly_is(two):
    area = torch.zeros(60, 100)
    area[:, 30:65] = 1
    assert torch.equal(regions_within(two, area), left_of(two))
    assert regions_within(two, torch.zeros(60, 100)).max() == 0


def test_each_frame_by_itself(two):
    both = torch.cat([two, left_of(two), torch.zeros_like(two)])
    picked = region_at(both, 80, 30)
    assert torch.equal(picked[:1], region_at(two, 80, 30)) and picked[1:].max() == 0
