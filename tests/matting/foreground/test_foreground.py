"""Foreground colours: how near they come to known ones, and what holds for every picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from composites import errors
from scipy import ndimage

from birefnet.matting import foreground

ORANGE, BLUE = torch.tensor([1.0, 0.6, 0.0]), torch.tensor([0.0, 0.0, 0.8])


def estimated(composite, method: str) -> np.ndarray:
    image, alpha = torch.from_numpy(composite.image)[None], torch.from_numpy(composite.alpha)[None]
    return foreground.estimate(image, alpha, method)[0].numpy()


@pytest.mark.parametrize("method, most", [("multi-level", 5.7), ("blur fusion", 17.5)])
def test_known_colours_are_found(known, method, most):
    """Mean errors in 8-bit levels over the soft pixels, weighted by alpha: measured 5.2 and 16.3."""
    untouched = [errors(composite.image, composite)[0] for composite in known]
    assert np.mean(untouched) > 30
    assert np.mean([errors(estimated(composite, method), composite)[0] for composite in known]) < most


def test_the_quality_choice_is_the_better_one_of_each_composite(known):
    for composite in known:
        first, second = (errors(estimated(composite, method), composite) for method in foreground.METHODS)
        assert first < second, composite.name


def ramp(height: int = 40, width: int = 150) -> torch.Tensor:
    """Alpha [1,height,width]: 1 on the left third, 0 on the right one, linear between."""
    line = ((2 * width / 3 - torch.arange(width)) / (width / 3)).clamp(0, 1)
    return line.expand(1, height, width).contiguous()


def test_one_colour_over_another_is_found_everywhere():
    alpha = ramp()
    image = BLUE + alpha[..., None] * (ORANGE - BLUE)
    found = foreground.estimate(image, alpha)
    assert (found - ORANGE).abs().max() < 0.01  # continued where nothing of the subject is seen, too


def odd_pictures() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    return {
        "all subject": (noise(1, 9, 14, 3), torch.ones(1, 9, 14)),
        "no subject": (noise(1, 9, 14, 3), torch.zeros(1, 9, 14)),
        "hardly a subject": (noise(1, 9, 14, 3), torch.full((1, 9, 14), 1e-6)),
        "one pixel": (noise(1, 1, 1, 3), torch.full((1, 1, 1), 0.5)),
        "one row": (noise(1, 1, 37, 3), noise(1, 1, 37)),
        "one column": (noise(1, 37, 1, 3), noise(1, 37, 1)),
        "noise": (noise(2, 33, 65, 3).round(), noise(2, 33, 65)),
        "hard": (noise(2, 33, 65, 3), noise(2, 33, 65).round()),
        "grey": (noise(2, 20, 31, 1), noise(2, 20, 31)),
        "transparent": (noise(2, 20, 31, 4), noise(2, 20, 31)),
        "half precision": (noise(1, 20, 31, 3).half(), ramp(20, 31).half()),
        "empty batch": (noise(0, 20, 31, 3), noise(0, 20, 31)),
    }


@pytest.mark.parametrize("method", foreground.METHODS)
@pytest.mark.parametrize("name", odd_pictures())
def test_colours_stay_in_range_and_opaque_pixels_as_they_are(name, method):
    image, alpha = odd_pictures()[name]
    before = image.clone(), alpha.clone()
    found = foreground.estimate(image, alpha, method)
    assert found.shape == (*alpha.shape, 3) and found.dtype == torch.float32
    assert found.isfinite().all() and ((found >= 0) & (found <= 1)).all()
    opaque = alpha == 1
    assert torch.equal(found[opaque], image[..., :3].expand(*alpha.shape, 3)[opaque].float())
    assert torch.equal(image, before[0]) and torch.equal(alpha, before[1])


@pytest.mark.parametrize("method", foreground.METHODS)
def test_frames_do_not_see_each_other(method, known):
    first, second = (torch.from_numpy(composite.image[:100, :100]) for composite in known[:2])
    alpha = torch.from_numpy(known[0].alpha[:100, :100])
    together = foreground.estimate(torch.stack([first, second]), torch.stack([alpha, alpha]), method)
    for alone, frame in zip(together, (first, second)):
        torch.testing.assert_close(foreground.estimate(frame[None], alpha[None], method)[0], alone, rtol=0,
                                   atol=1e-5)


@pytest.mark.parametrize("widths", [(90, 6), (31, 6), (90, 15), (7, 1)])
def test_blur_fusion_is_the_paper_s_two_passes(known, widths):
    """By scipy, over whole windows and for a subject in every window: there neither prior nor frame
    counts."""
    image, alpha = known[1].image[:, :200].astype(np.float64), known[1].alpha[:, :200,
                                                                              None].astype(np.float64)

    def blur(values: np.ndarray, width: int) -> np.ndarray:
        return ndimage.uniform_filter(values, (width // 2 * 2 + 1,) * 2 + (1,), mode="constant")

    front = back = image
    for width in widths:
        around = blur(front * alpha, width) / (blur(alpha, width) + 1e-5)
        back = blur(back * (1 - alpha), width) / (blur(1 - alpha, width) + 1e-5)
        front = (around + alpha * (image - alpha * around - (1 - alpha) * back)).clip(0, 1)
    found = foreground.estimate(*(torch.from_numpy(x).float()[None] for x in (image, alpha[..., 0])),
                                "blur fusion",
                                widths=widths)[0]
    near = blur(alpha, min(widths))[..., 0] > 0.01
    np.testing.assert_allclose(found.numpy()[near], front[near], atol=2e-3)


@pytest.mark.parametrize("image, alpha, method, words", [
    (torch.rand(1, 8, 8, 3), torch.rand(1, 4, 4), "multi-level", "^Resize alpha"),
    (torch.rand(1, 8, 8, 3), torch.rand(2, 8, 8), "multi-level", r"expected floats \[1, 8, 8\]"),
    (torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8), "multi-level", r"\[B,H,W,C\].*got float32 \[1, 3, 8, 8\]"),
    (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.rand(1, 8, 8), "multi-level", "float image.*uint8"),
    (torch.rand(1, 8, 8, 3), torch.rand(1, 8, 8), "magic", "^Set method to .*: it is magic"),
])
def test_what_does_not_fit_is_told(image, alpha, method, words):
    with pytest.raises(ValueError, match=words):
        foreground.estimate(image, alpha, method)
