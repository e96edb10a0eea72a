"""Smoothing over time: noise is calmed, change is followed, motion carries the past along, cuts end it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from birefnet import masks
from birefnet.imaging.flow import estimate_flow
from birefnet.matting.temporal import Smoother, estimate_motion, small_luma

DATA = Path(__file__).resolve().parents[1] / "data"
HEIGHT, WIDTH, FRAMES = 180, 240, 8


def read(name: str, mode: str) -> Tensor:
    with Image.open(DATA / name) as picture:
        return torch.from_numpy(np.asarray(picture.convert(mode), np.float32) / 255)


def handheld(picture: Tensor, shift: float = 1.0) -> list[Tensor]:
    """A clip [H,W,C] each: a window of the picture [H,W,C] that moves up to 7 pixels a frame, breathes and
    turns."""
    clip = []
    for i in range(FRAMES):
        zoom, turn = 1 + 0.04 * math.sin(0.7 * i), 0.03 * math.sin(0.5 * i)
        x, y = 0.08 * shift * math.sin(0.6 * i), 0.06 * shift * math.cos(0.8 * i)
        c, s = 0.75 * zoom * math.cos(turn), 0.75 * zoom * math.sin(turn)
        place = torch.tensor([[[c, -s, x], [s, c, y]]])
        grid = F.affine_grid(place, [1, 1, 2 * HEIGHT, 2 * WIDTH], align_corners=False)
        frame = F.grid_sample(picture.movedim(-1, 0)[None], grid, mode="bicubic", align_corners=False)
        clip.append(F.avg_pool2d(frame, 2)[0].movedim(0, -1).clamp(0, 1))
    return clip


@pytest.fixture(scope="module")
def scene() -> tuple[list[Tensor], list[Tensor]]:
    """Pictures [1,H,W,3] of a moving photograph and its true alphas [1,H,W]."""
    pictures = [frame[None] for frame in handheld(read("dandelion.jpg", "RGB"))]
    truth = [frame[None, ..., 0] for frame in handheld(read("dandelion_mask.png", "L")[..., None])]
    return pictures, truth


def noisy(truth: list[Tensor], kind: str) -> list[Tensor]:
    """What networks do wrong, each frame by itself: the edge wanders by some pixels, or pieces are missed."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for alpha in truth:
        blobs = torch.randn(1, 1, HEIGHT // 15, WIDTH // 15, generator=generator)
        blobs = F.interpolate(blobs, alpha.shape[1:], mode="bicubic")[:, 0]
        if kind == "edge":
            made.append(((masks.feather(alpha, 6) - 0.5) * 4 + 0.5 + 0.8 * blobs).clamp(0, 1)
                        * (masks.grow(alpha, 6) > 0))
        else:
            made.append(alpha * (1 - 0.9 * (blobs > 1.1)))
    return made


def flicker(alphas: list[Tensor], truth: list[Tensor]) -> float:
    """dtSSD (Erofeev et al., "Perceptually motivated benchmark for video matting", BMVC 2015), mean over
    frames."""
    return float(np.mean([((a - b) - (c - d)).square().mean().sqrt()
                          for a, b, c, d in zip(alphas[1:], alphas, truth[1:], truth)]))


def iou(alphas: list[Tensor], truth: list[Tensor]) -> float:
    return float(np.mean([((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum()
                          for a, b in zip(alphas, truth)]))


@pytest.mark.parametrize(("kind", "least"), [
    ("edge", 0.2), pytest.param("missed", 0.3, marks=pytest.mark.slow)])
def test_flicker_falls_and_overlap_does_not(scene, kind, least):
    pictures, truth = scene
    raw = noisy(truth, kind)
    smoother = Smoother(0.6)
    calm = [smoother(picture, alpha) for picture, alpha in zip(pictures, raw)]
    assert smoother.cuts == 0
    assert flicker(calm, truth) < (1 - least) * flicker(raw, truth)
    assert iou(calm, truth) > iou(raw, truth)


def test_what_is_right_stays_right_while_it_moves(scene):
    pictures, truth = scene
    smoother = Smoother(0.6)
    calm = [smoother(picture, alpha) for picture, alpha in zip(pictures, truth)]
    assert iou(calm, truth) > 0.985
    # A smoother that does not follow motion drags a ghost behind.
    still = [truth[0]]
    for alpha in truth[1:]:
        still.append(torch.lerp(alpha, still[-1], 0.6))
    assert flicker(calm, truth) < 0.5 * flicker(still, truth)


@pytest.fixture()
def still() -> Tensor:
    """A picture that does not move, so that the past can be trusted everywhere."""
    return masks.feather(torch.rand(1, 40, 60, generator=torch.Generator().manual_seed(0)),
                         2)[..., None].expand(
        1, 40, 60, 3)


def flat(value: float) -> Tensor:
    return torch.full((1, 40, 60), value)


def values(smoother: Smoother, picture: Tensor, alphas: list[float]) -> list[float]:
    return [round(float(smoother(picture, flat(alpha)).mean()), 4) for alpha in alphas]


def test_a_lone_miss_counts_only_as_far_as_the_strength_leaves_it(still):
    assert values(Smoother(0.75), still, [1, 1, 1, 0])[-1] == pytest.approx(0.75)


def test_a_change_that_goes_on_is_followed_after_one_frame(still):
    assert values(Smoother(0.5), still, [0, 0, 1, 1, 1]) == pytest.approx([0, 0, 0.5, 1, 1], abs=0.01)


@pytest.mark.slow
def test_noise_about_a_value_comes_closer_to_it(still):
    noise = torch.rand(40, generator=torch.Generator().manual_seed(3)) * 0.4 + 0.3
    calm = torch.tensor(values(Smoother(0.8), still, noise.tolist()))
    assert calm[5:].std() < 0.7 * noise[5:].std()
    assert abs(calm.mean() - noise.mean()) < 0.02


def test_strength_nought_changes_nothing(still):
    alpha = torch.rand(1, 40, 60)
    smoother = Smoother(0)
    smoother(still, flat(1))
    assert torch.equal(smoother(still, alpha), alpha)


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_other_strengths_are_refused(strength):
    with pytest.raises(ValueError, match="0 to 1"):
        Smoother(strength)


PHOTOGRAPHS = ["dandelion.jpg", "coffee.jpg", "astronaut.jpg", "chelsea.jpg", "raccoon.jpg", "rocket.jpg"]


@pytest.mark.parametrize("after", PHOTOGRAPHS[1:])
def test_a_cut_begins_anew(after):
    before, after = (handheld(read(name, "RGB"))[0][None] for name in (PHOTOGRAPHS[0], after))
    smoother = Smoother(0.9)
    smoother(before, torch.ones(1, HEIGHT, WIDTH))
    alpha = torch.rand(1, HEIGHT, WIDTH)
    assert torch.equal(smoother(after, alpha), alpha)
    assert smoother.cuts == 1


@pytest.mark.parametrize("name", [*PHOTOGRAPHS[:2], *(pytest.param(name, marks=pytest.mark.slow)
                                                      for name in PHOTOGRAPHS[2:])])
def test_a_moving_camera_is_no_cut(name):
    smoother = Smoother(0.5)
    for picture in handheld(read(name, "RGB"), shift=1.5):
        smoother(picture[None], torch.zeros(1, HEIGHT, WIDTH))
    assert smoother.cuts == 0


def test_another_size_begins_anew(still):
    smoother = Smoother(0.9)
    smoother(still, flat(1))
    alpha = torch.zeros(1, 30, 30)
    assert torch.equal(smoother(torch.rand(1, 30, 30, 3), alpha), alpha)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (25, 31), (96, 97)])
def test_any_size(size):
    smoother = Smoother(0.5)
    for _ in range(3):
        alpha = smoother(torch.rand(1, *size, 3), torch.rand(1, *size))
        assert alpha.shape == (1, *size) and 0 <= alpha.min() <= alpha.max() <= 1


def shifted(picture: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Fetched from (x, y) pixels away, bicubic: sharper than what the smoother itself does."""
    height, width = picture.shape[2:]
    where = torch.tensor([[[1, 0, 2 * x / width], [0, 1, 2 * y / height]]], dtype=torch.float32)
    grid = F.affine_grid(where, picture.shape, align_corners=False)
    return F.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=False)


@pytest.mark.parametrize("shift", [(3, 0), (0.5, 0.25), (-2.5, 6), (12.25, -7.5)])
def test_motion_is_found_to_a_fraction_of_a_pixel(shift):
    luma = small_luma(read("raccoon.jpg", "RGB")[None])
    motion = torch.tensor(shift, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *luma.shape[2:])
    moved = shifted(luma, *shift)
    inside = (slice(None), slice(None), slice(30, -30), slice(30, -30))
    found, trust = estimate_motion(moved[inside], luma[inside])
    error = (found - motion[inside]).norm(dim=1)
    assert error.median() < 0.15
    assert error[trust[:, 0] > 0.5].quantile(0.9) < 0.6


def test_where_nothing_can_be_told_nothing_moves():
    grey = torch.full((1, 1, 60, 80), 0.5)
    assert torch.equal(estimate_flow(grey, grey), torch.zeros(1, 2, 60, 80))


def test_what_was_hidden_is_not_trusted():
    """A block moves by 12 pixels: the strip that it uncovers has no past."""
    ground, block = (small_luma(handheld(read(name, "RGB"))[0][None])
                     for name in ("chelsea.jpg", "raccoon.jpg"))
    frames = []
    for x in (70, 82):
        frame = ground.clone()
        frame[..., 50:130, x:x + 90] = block[..., 50:130, 70:160]
        frames.append(frame)
    motion, trust = estimate_motion(frames[1], frames[0])
    assert trust[0, 0, 56:124, 72:80].mean() < 0.2       # uncovered
    assert trust[0, 0, 62:118, 96:160].mean() > 0.7      # the block
    assert trust[0, 0, :, 190:].mean() > 0.8             # far from it
    assert motion[0, 0, 62:118, 96:160].median() == pytest.approx(-12, abs=0.2)
