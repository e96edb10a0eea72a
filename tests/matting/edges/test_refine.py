"""refine: detail where the first matte was unsure, and not a bit changed where it was sure."""

from __future__ import annotations

import pytest
import torch

from birefnet import masks
from birefnet.files.errors import UserError
from birefnet.matting import edges


def error(mask: torch.Tensor, matte: torch.Tensor) -> float:
    band = masks.grow(((matte > 0.02) & (matte < 0.98)).float(), 8) > 0
    return float((mask - matte)[band].abs().mean())


def knowing(pictures: torch.Tensor) -> torch.Tensor:
    """A network that finds the disc by its colour, whatever it is shown of it."""
    return ((pictures[..., 0] - 0.11) / 0.6).clamp(0, 1)


def inverting(pictures: torch.Tensor) -> torch.Tensor:
    return 1 - knowing(pictures)


def guessing(pictures: torch.Tensor) -> torch.Tensor:
    return torch.rand(pictures.shape[:3], generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method, network",
                         [("network", knowing), ("network", inverting), ("network", guessing),
                                             ("guided", None), ("closed form", None)])
@pytest.mark.parametrize("low, high", [(0.05, 0.95), (0.3, 0.4), (0.0, 1.0)])
def test_what_was_certain_stays_bit_for_bit(image, coarse, method, network, low, high):
    refined = edges.refine(coarse, image, network, method=method, low=low, high=high, window=96)
    certain = (coarse <= low) | (coarse >= high)
    assert torch.equal(refined[certain], coarse[certain])
    assert not torch.equal(refined, coarse)
    assert 0 <= refined.min() and refined.max() <= 1


@pytest.mark.parametrize("method, share", [("network", 0.7), ("guided", 0.9), ("closed form", 0.8)])
def test_the_edge_comes_nearer_to_the_truth(image, matte, coarse, method, share):
    refined = edges.refine(coarse, image, knowing, method=method, window=96, radius=8)
    assert error(refined, matte) < share * error(coarse, matte)


@pytest.mark.parametrize("network", [inverting, lambda pictures: torch.zeros(pictures.shape[:3])])
def test_a_network_that_loses_the_subject_in_a_window_is_not_believed(image, matte, coarse, network):
    refined = edges.refine(coarse, image, network, method="network", window=96)
    assert error(refined, matte) < 1.15 * error(coarse, matte)
    believed = coarse + edges.band(coarse) * (network(image) - coarse)
    assert error(believed, matte) > 1.8 * error(coarse, matte)


def test_what_is_transparent_already_stays_so(image, coarse):
    opacity = torch.full_like(coarse, 0.5)
    first = coarse * opacity
    for method in edges.METHODS:
        refined = edges.refine(first, torch.cat([image, opacity[..., None]], -1), knowing, method=method,
                               window=96)
        assert (refined <= torch.maximum(first, opacity)).all()


def test_the_answer_sets_in_softly():
    ramp = torch.linspace(0, 1, 1001)[None, None]
    weight = edges.band(ramp, 0.1, 0.8)[0, 0]
    assert weight[:101].max() == 0 == weight[800:].max()
    assert weight[210:690].min() == 1
    assert (weight[1:] - weight[:-1]).abs().max() < 0.02


def test_a_hard_mask_has_nothing_to_refine(image, matte):
    hard = (matte > 0.5).float()
    assert all(torch.equal(edges.refine(hard, image, knowing, method=method), hard)
               for method in edges.METHODS)


@pytest.mark.parametrize("changes, words", [
    ({"method": "magic"}, "network, guided, closed form"), ({"alpha_of": None}, "alpha_of"),
    ({"low": 0.6, "high": 0.4}, "^Lower low"), ({"image": torch.zeros(1, 5, 5, 3)}, "^Resize the mask"),
])
def test_what_cannot_be_is_said(image, coarse, changes, words):
    settings = {"image": image, "alpha_of": knowing, "method": "network"} | changes
    with pytest.raises(ValueError, match=words):
        edges.refine(coarse, settings.pop("image"), settings.pop("alpha_of"), **settings)


@pytest.mark.parametrize("method", ["guided", "closed form"])
@pytest.mark.parametrize("where", ["guide", "mask"])
def test_a_value_that_is_not_finite_is_found(method, where):
    """It would spread over every window that holds it."""
    mask, image = torch.full((1, 40, 40), 0.5), torch.rand(1, 40, 40, 3)
    (image if where == "guide" else mask)[0, 20, 20] = torch.nan
    with pytest.raises(UserError, match=f"^Check what made the {where}: "):
        edges.refine(mask, image, method=method)
