"""guided_edges against the filter's definition, and what it does to a matte's edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from birefnet import masks
from birefnet.files.errors import UserError
from birefnet.masks.guided import EPSILON


def reference(alpha: np.ndarray, image: np.ndarray, radius: int) -> np.ndarray:
    """The guided filter as in the paper, in float64, one pixel's system after the other, then the blend by
    4m(1-m)."""

    def box(picture: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(picture, (2 * radius + 1,) * 2 + (0,) * (picture.ndim - 2),
                                      mode="nearest")

    # The filter's second mean looks past the frame too: pad once, by enough, as the operator does.
    pad = 2 * radius
    alpha = np.pad(alpha.astype(np.float64), pad, mode="edge")
    image = np.pad(image.astype(np.float64), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    mean, colours = box(alpha), box(image)
    shared = box(image * alpha[..., None]) - colours * mean[..., None]
    matrix = np.stack([box(image * image[..., i, None]) - colours * colours[..., i, None]
                       for i in range(image.shape[-1])], -1)
    slope = np.linalg.solve(matrix + EPSILON * np.eye(image.shape[-1]), shared[..., None])[..., 0]
    offset = mean - (slope * colours).sum(-1)
    filtered = np.clip((box(slope) * image).sum(-1) + box(offset), 0, 1)
    return (alpha + 4 * mean * (1 - mean) * (filtered - alpha))[pad:-pad, pad:-pad]


def photograph(height: int, width: int, channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    noise = torch.rand(channels, height, width, generator=generator)
    return masks.feather(noise, 3).movedim(0, -1)[None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("radius", [1, 4, 9])
def test_it_is_the_guided_filter(channels, radius):
    image = photograph(50, 64, channels)
    mask = masks.feather((image[..., 0] > 0.5).float(), 6)
    expected = reference(mask[0].numpy(), image[0].numpy(), radius)
    np.testing.assert_allclose(masks.guided_edges(mask, image, radius)[0].numpy(), expected, atol=1e-3)
    exact = masks.guided_edges(mask.double(), image.double(), radius)[0].numpy()
    np.testing.assert_allclose(exact, reference(mask[0].double().numpy(), image[0].double().numpy(), radius),
                               atol=1e-9)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph [1,H,W,3] of a disc with spikes before a background of other colour, and its matte
    [1,H,W]."""
    y, x = torch.meshgrid(torch.arange(300.0) - 150, torch.arange(300.0) - 150, indexing="ij")
    spikes = 90 + 12 * torch.cos(24 * torch.atan2(y, x))
    matte = masks.feather((torch.hypot(x, y) < spikes).float()[None], 2)
    shade = photograph(300, 300, 3) * 0.3
    subject, background = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.1, 0.4, 0.5])
    colours = subject * matte[..., None] + background * (1 - matte[..., None])
    return colours + shade, matte


def error(mask: torch.Tensor, matte: torch.Tensor) -> float:
    band = masks.grow(((matte > 0.02) & (matte < 0.98)).float(), 10) > 0
    return float((mask - matte)[band].abs().mean())


@pytest.mark.parametrize("factor", [4, 8])
def test_a_matte_from_a_small_network_finds_its_edge_again(factor):
    image, matte = scene()
    coarse = masks.resize(masks.resize(matte, (300 // factor, 300 // factor)), (300, 300))
    assert error(masks.guided_edges(coarse, image, 16), matte) < 0.85 * error(coarse, matte)


def test_far_inside_and_outside_nothing_changes():
    image, matte = scene()
    guided = masks.guided_edges(masks.feather(matte, 6), image, 8)
    edge = masks.grow(((matte > 0) & (matte < 1)).float(), 20) > 0
    assert 0.2 < (~edge).float().mean()
    torch.testing.assert_close(guided[~edge], matte[~edge], atol=1e-6, rtol=0)


def test_strength_blends():
    image, matte = scene()
    coarse = masks.feather(matte, 8)
    full, half = masks.guided_edges(coarse, image, 8), masks.guided_edges(coarse, image, 8, 0.5)
    torch.testing.assert_close(half, (coarse + full) / 2, atol=1e-6, rtol=0)
    assert torch.equal(masks.guided_edges(coarse, image, 8, 0.0), coarse)
    assert torch.equal(masks.guided_edges(coarse, image, 0), coarse)


def test_a_flat_photograph_pulls_at_nothing():
    guided = masks.guided_edges(scene()[1], torch.full((1, 300, 300, 3), 0.5), 4)
    assert torch.isfinite(guided).all() and 0 <= guided.min() and guided.max() <= 1


def test_one_photograph_guides_all_frames_and_its_alpha_is_not_used():
    image, matte = scene()
    frames = torch.cat([masks.feather(matte, 4), masks.feather(matte, 10)])
    expected = torch.cat([masks.guided_edges(frame[None], image, 6) for frame in frames])
    assert torch.equal(masks.guided_edges(frames, image, 6), expected)
    with_alpha = torch.cat([image, torch.rand(1, 300, 300, 1)], -1)
    assert torch.equal(masks.guided_edges(frames, with_alpha, 6), expected)


def test_tiles_meet_without_a_seam(monkeypatch):
    image, matte = scene()
    coarse = masks.feather(matte, 8)
    whole = masks.guided_edges(coarse, image, 5)
    monkeypatch.setattr("birefnet.masks.common.TILE_SIDE", 37)
    torch.testing.assert_close(masks.guided_edges(coarse, image, 5), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(1, 299, 300, 3), (2, 300, 300, 3), (300, 300, 3)])
def test_a_photograph_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match="^Resize the mask to the image first"):
        masks.guided_edges(scene()[1].expand(3, -1, -1), torch.zeros(shape), 4)


def test_a_guide_with_a_value_that_is_not_finite_is_refused():
    image = torch.rand(1, 32, 32, 3)
    image[0, 5, 5, 0] = torch.inf
    with pytest.raises(UserError, match="^Check what made the guide: 1 of its 3072 values"):
        masks.guided_edges(torch.rand(1, 32, 32), image, 4)
