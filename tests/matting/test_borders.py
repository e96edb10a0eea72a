"""Two things touch, and the border between them is known: whether one drawn beside it moves there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from birefnet.matting.subject.borders import move_borders, window_sum

HEIGHT, WIDTH = 200, 320
LEFT, BORDER, RIGHT = 60, 160, 260  # columns of two things side by side
ROWS = slice(40, 160)
ORANGE, BLUE = (0.9, 0.5, 0.2), (0.2, 0.4, 0.8)


def scene(own=ORANGE, other=BLUE) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture [1,H,W,3] of two noisy things on grey, and the matte [1,H,W] of both."""
    picture = torch.full((1, HEIGHT, WIDTH, 3), 0.4)
    picture[:, ROWS, LEFT:BORDER], picture[:, ROWS, BORDER:RIGHT] = torch.tensor(own), torch.tensor(other)
    noise = torch.from_numpy(np.random.default_rng(3).normal(0, 0.05, picture.shape)).float()
    alpha = torch.zeros(1, HEIGHT, WIDTH)
    alpha[:, ROWS, LEFT:RIGHT] = 1
    return (picture + noise).clamp(0, 1), alpha


def left_of(column: int) -> torch.Tensor:
    """The share [1,H,W] of the thing on the left, if the border is at `column`; nothing is decided."""
    share = torch.full((1, HEIGHT, WIDTH), 0.001)
    share[:, :, :column] = 0.999
    return share


def border_of(share: torch.Tensor) -> float:
    """The mean column of the border."""
    return LEFT + float((share[0, ROWS, LEFT:RIGHT] > 0.5).float().sum(1).mean())


@pytest.mark.parametrize("off", [-12, -5, 5, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_border_moves_to_where_the_colours_change(off, channels):
    picture, alpha = scene()
    if channels == 1:
        picture = picture[..., 2:]
    elif channels == 4:
        picture = torch.cat([picture, torch.ones_like(picture[..., :1])], 3)
    moved = move_borders(left_of(BORDER + off), alpha, picture)
    assert abs(border_of(moved) - BORDER) < 1.5
    far = torch.ones(WIDTH, dtype=torch.bool)
    far[BORDER - 40:BORDER + 40] = False
    assert torch.equal(moved[..., far], left_of(BORDER)[..., far]), "far from the border nothing changes"


@pytest.mark.parametrize("longer_side", [64, 1500])
def test_the_size_of_the_crop_does_not_matter(longer_side):
    picture, alpha = scene()
    height, width = longer_side * HEIGHT // WIDTH, longer_side

    def resized(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(x, (height, width), mode="bilinear", antialias=True)

    moved = move_borders(resized(left_of(BORDER + 8)[None])[0], resized(alpha[None])[0],
                         resized(picture.movedim(3, 1)).movedim(1, 3))
    there = (moved[0, height // 2] > 0.5).float().mean() * WIDTH
    assert abs(float(there) - BORDER) <= WIDTH / 64


def test_between_things_of_one_colour_the_border_stays():
    picture, alpha = scene(ORANGE, ORANGE)
    assert abs(border_of(move_borders(left_of(BORDER + 8), alpha, picture)) - BORDER - 8) < 2


def test_a_border_out_of_reach_is_not_searched_for():
    picture, alpha = scene()
    assert border_of(move_borders(left_of(BORDER + 60), alpha, picture)) > BORDER + 40


def test_what_is_decided_stays():
    picture, alpha = scene()
    decided = left_of(BORDER + 8).round()
    assert torch.equal(move_borders(decided, alpha, picture), decided)
    alpha[:, ROWS, BORDER:BORDER + 6] = 0  # now they are apart, but near, and one edge has the other's colour
    picture[:, ROWS, BORDER - 6:BORDER] = picture[:, ROWS, BORDER + 6:BORDER + 12]
    whole = left_of(BORDER)
    whole[:, :, :BORDER] = 1
    assert torch.equal(move_borders(whole, alpha, picture), whole)


@pytest.mark.parametrize("share", [torch.ones(1, HEIGHT, WIDTH), torch.full((1, HEIGHT, WIDTH), 0.001)])
def test_without_another_subject_nothing_changes(share):
    picture, alpha = scene()
    assert torch.equal(move_borders(share, alpha, picture), share)
    nothing = torch.zeros_like(alpha)
    assert torch.equal(move_borders(left_of(BORDER), nothing, picture), left_of(BORDER))


def test_a_window_sum_counts_nothing_outside():
    x = torch.from_numpy(np.random.default_rng(1).random((1, 2, 9, 11))).float()
    padded = torch.nn.functional.pad(x, (3, 3, 3, 3))
    expected = padded.unfold(2, 7, 1).unfold(3, 7, 1).sum((4, 5))
    torch.testing.assert_close(window_sum(x, 3), expected)
