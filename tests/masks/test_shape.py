"""levels, grow, feather and resize: exact numbers, and scipy as the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from birefnet import masks


def random_mask(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def step(width: int = 12, edge: int = 6) -> torch.Tensor:
    return (torch.arange(width) < edge).float().repeat(1, 5, 1)


def test_levels_is_linear_between_its_points():
    mask = torch.tensor([[[0.0, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0]]])
    expected = torch.tensor([[[0.0, 0.0, 0.2, 0.6, 1.0, 1.0, 1.0]]])
    torch.testing.assert_close(masks.levels(mask, 0.2, 0.7), expected)


@pytest.mark.parametrize("black, white", [(0.5, 0.5), (0.7, 0.2), (float("nan"), 1.0)])
def test_levels_wants_black_below_white(black, white):
    with pytest.raises(ValueError, match=f"got black {black:g} and white {white:g}"):
        masks.levels(step(), black, white)


@pytest.mark.parametrize("pixels, edge",
                         [(1, [1, 0, 0]), (2, [1, 1, 0]), (0.5, [0.5, 0, 0]), (1.25, [1, 0.25, 0])])
def test_a_straight_edge_moves_by_so_many_pixels(pixels, edge):
    assert masks.grow(step(), pixels)[0, 2, 6:9].tolist() == edge
    assert masks.grow(1 - step(), -pixels)[0, 2, 6:9].tolist() == [1 - alpha for alpha in edge]


@pytest.mark.parametrize("pixels", [1, 1.5, 3, -1, -1.5, -3])
def test_a_soft_edge_moves_and_stays_soft(pixels):
    ramp = ((30 - torch.arange(40)) / 20).clamp(0, 1).repeat(1, 7, 1)
    moved = ((30 + pixels - torch.arange(40)) / 20).clamp(0, 1).repeat(1, 7, 1)
    torch.testing.assert_close(masks.grow(ramp, pixels)[..., 15:25], moved[..., 15:25])


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.sqrt(x**2 + y**2) < radius + 0.5


@pytest.mark.parametrize("radius", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("shape", [(40, 57), (9, 5), (1, 30), (1, 1)])
def test_grow_is_greyscale_morphology_with_a_disc(radius, shape):
    mask = random_mask(2, *shape)
    for result, frame in zip(masks.grow(mask, radius), mask):
        expected = ndimage.grey_dilation(frame.numpy(), footprint=disc(radius), mode="nearest")
        np.testing.assert_array_equal(result.numpy(), expected)
    for result, frame in zip(masks.grow(mask, -radius), mask):
        expected = ndimage.grey_erosion(frame.numpy(), footprint=disc(radius), mode="nearest")
        np.testing.assert_array_equal(result.numpy(), expected)


def test_grow_across_tiles_is_seamless():
    mask = (random_mask(1, 700, 1100) > 0.9995).float()
    expected = ndimage.grey_dilation(mask[0].numpy(), footprint=disc(9), mode="nearest")
    np.testing.assert_array_equal(masks.grow(mask, 9)[0].numpy(), expected)


def test_the_frame_does_not_eat_the_subject():
    mask = torch.zeros(1, 30, 30)
    mask[:, 10:, 10:] = 1  # cut by the lower and the right side
    expected = torch.zeros(1, 30, 30)
    expected[:, 13:, 13:] = 1
    assert torch.equal(masks.grow(mask, -3), expected)


def test_feather_is_a_gaussian_of_half_the_radius():
    mask = random_mask(1, 60, 45)
    expected = ndimage.gaussian_filter(mask[0].numpy().astype(np.float64), sigma=3, mode="nearest", radius=9)
    np.testing.assert_allclose(masks.feather(mask, 6)[0].numpy(), expected, atol=1e-6)


def test_feather_across_tiles_is_seamless():
    mask = (random_mask(1, 600, 1100) > 0.999).float()
    expected = ndimage.gaussian_filter(mask[0].numpy().astype(np.float64), sigma=4, mode="nearest", radius=12)
    np.testing.assert_allclose(masks.feather(mask, 8)[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("radius", [0.5, 4, 25])
def test_a_feathered_edge_is_a_ramp_of_the_radius_to_either_side(radius):
    mask = step(200, 100)
    feathered = masks.feather(mask, radius)[0, 2]
    assert feathered[99] + feathered[100] == pytest.approx(1, abs=1e-5)
    assert feathered[100 + math.ceil(radius)] < 0.025 and feathered[99 - math.ceil(radius)] > 0.975
    assert feathered.sum() == pytest.approx(100, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("change", [lambda mask: masks.feather(mask, 7), lambda mask: masks.grow(mask, 3.5)])
def test_flat_areas_stay(value, change):
    assert torch.equal(change(torch.full((1, 33, 20), value)), torch.full((1, 33, 20), value))


@pytest.mark.parametrize("size", [(11, 30), (80, 7), (40, 57), (1, 1), (97, 131)])
def test_resize_keeps_range_and_mean(size):
    mask = masks.feather(random_mask(2, 40, 57).round(), 3)
    resized = masks.resize(mask, size)
    assert resized.shape == (2, *size)
    assert 0 <= resized.min() and resized.max() <= 1
    torch.testing.assert_close(resized.mean(), mask.mean(), atol=0.01, rtol=0)
    torch.testing.assert_close(masks.resize(torch.ones(1, 40, 57), size), torch.ones(1, *size), atol=1e-6,
                               rtol=0)


def test_shrinking_averages_and_enlarging_interpolates():
    stripes = torch.tensor([1.0, 0.0] * 32).repeat(1, 64, 1)
    torch.testing.assert_close(masks.resize(stripes, (8, 8))[:, :, 1:-1], torch.full((1, 8, 6), 0.5),
                               atol=0.01, rtol=0)
    assert masks.resize(torch.tensor([[[0.0, 1.0]]]), (1, 4)).tolist() == [[[0.0, 0.25, 0.75, 1.0]]]
