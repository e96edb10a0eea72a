"""Two textured things pass each other: which of them each pixel moves with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from birefnet.matting.subject.layers import LEAST_PIXELS, compare_motions, fit_affine
from birefnet.matting.temporal import estimate_motion

HEIGHT, WIDTH = 96, 160
random = np.random.default_rng(5)
TEXTURES = [np.kron(random.uniform(0.2, 0.9, (30, 30)), np.ones((2, 2))) for _ in range(2)]


def frame(left: int, other: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma [1,1,H,W] of a thing at `left` behind another at `other`, and their mattes [1,2,H,W]."""
    luma, masks = np.full((HEIGHT, WIDTH), 0.05), np.zeros((2, HEIGHT, WIDTH))
    for i, (texture, at) in enumerate(zip(TEXTURES, (left, other))):
        inside = slice(18, 78), slice(at, at + 60)
        luma[inside] = texture
        masks[(slice(None), *inside)] = 0
        masks[(i, *inside)] = 1
    return torch.from_numpy(luma).float()[None, None], torch.from_numpy(masks).float()[None]


def test_each_pixel_moves_with_its_thing():
    (before, _), (here, masks) = frame(30, 70), frame(33, 67)
    motion, trust = estimate_motion(here, before)
    # what is known is wrong by a strip on either side of the edge between the two
    own, others = (mask.clone() for mask in masks.split(1, 1))
    own[..., 18:78, 67:73], others[..., 18:78, 67:73] = 1, 0
    moving = compare_motions(here, before, motion, trust, own, others)
    inside = slice(22, 74)
    assert moving[0, 0, inside, 36:60].mean() > 0.9
    assert moving[0, 0, inside, 69:72].mean() < 0.1, "the strip moves with the other thing"
    assert moving[0, 0, inside, 80:120].mean() < 0.1
    assert moving[0, 0, :12].sub(0.5).abs().max() < 0.05, "flat ground"


def test_what_moves_alike_is_not_told_apart():
    (before, _), (here, masks) = frame(30, 70), frame(33, 73)
    motion, trust = estimate_motion(here, before)
    moving = compare_motions(here, before, motion, trust, *masks.split(1, 1))
    assert moving[0, 0, 24:72, 38:68].mean() == pytest.approx(0.5, abs=0.1)


def test_without_another_thing_nothing_is_said():
    (before, _), (here, masks) = frame(30, 70), frame(33, 67)
    motion, trust = estimate_motion(here, before)
    moving = compare_motions(here, before, motion, trust, masks[:, :1], torch.zeros_like(masks[:, :1]))
    assert moving.eq(0.5).all()


def test_a_motion_is_fitted_despite_what_moves_otherwise():
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 50), indexing="ij")
    true = torch.stack([2 + 0.5 * columns - 0.2 * rows, -1 + 0.1 * columns])[None]
    seen = true.clone()
    seen[..., :12] += 6  # a quarter of it
    fitted = fit_affine(seen, torch.ones(1, 1, 40, 50))
    assert (fitted - true).abs()[..., 12:].max() < 0.2
    few = torch.zeros(1, 1, 40, 50)
    few[..., 0, :int(LEAST_PIXELS) - 1] = 1
    assert fit_affine(seen, few) is None
