"""Two that touch where one is pointed at come apart, and the point says which one is meant."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from birefnet.matting.subject import PARTING_REACH, find_parting, parting, reduce_picture
from birefnet.matting.subject.parting import CONFIRM, STRIDE

HEIGHT, WIDTH, SIDE = 120, 200, 48
TOP = 40
random = np.random.default_rng(3)
THINGS = [np.clip(random.uniform(0.6, 1, (SIDE, SIDE, 1)) * colour, 0, 1) for colour in
          ((1, 0.3, 0.3), (0.3, 1, 0.4))]
GROUND = np.kron(random.uniform(0, 0.2, (HEIGHT // 4, WIDTH // 4, 1)), np.ones((4, 4, 3)))


def frame(*lefts: int) -> torch.Tensor:
    """Two bright things on a dark ground; what is bright is found."""
    picture = GROUND.copy()
    for thing, left in zip(THINGS, lefts):
        picture[TOP:TOP + SIDE, left:left + SIDE] = thing
    return torch.from_numpy(picture).float()[None]


def bright(pictures: torch.Tensor) -> torch.Tensor:
    return (pictures.amax(-1) > 0.4).float()


def leaving(steps: int, start: int = 0) -> list[torch.Tensor]:
    """They touch for `start` frames, then the right one moves away by two pixels a frame."""
    return [frame(30, 30 + SIDE + 2 * max(0, i - start)) for i in range(steps)]


@pytest.mark.parametrize("point, left", [((50, 60), 30), ((100, 60), 30 + SIDE)])
def test_the_one_under_the_point_is_found_where_they_are_apart(point, left):
    frames = leaving(20, start=3)
    steps, choose = find_parting(bright, None, [point], frames, bright(frames[0]))
    assert steps == STRIDE + CONFIRM  # a first gap after STRIDE frames, of two pixels
    alpha = choose(frames[steps])[0]
    left += 2 * (steps - 3) if left > 30 else 0
    assert alpha[TOP + 4:TOP + SIDE - 4, left + 4:left + SIDE - 4].mean() > 0.95
    assert alpha.sum() == pytest.approx(SIDE**2, rel=0.1)


def test_a_gap_with_which_the_frames_end_counts():
    frames = leaving(STRIDE + 1)
    steps, _ = find_parting(bright, None, [(50, 60)], frames, bright(frames[0]))
    assert steps == STRIDE


def test_one_thing_stays_one():
    frames = [frame(30 + i) for i in range(3 * STRIDE)]
    assert find_parting(bright, None, [(50, 60)], frames, bright(frames[0])) is None


@pytest.mark.slow
def test_what_is_missed_for_a_moment_is_no_parting():
    """A dark bar through the matte of one thing, in one of the frames that are looked at."""
    frames, looks = [frame(30) for _ in range(4 * STRIDE)], []

    def once(pictures):
        looks.append(1)
        alpha = bright(pictures)
        if len(looks) == 2:
            alpha[:, :, 50:58] = 0
        return alpha

    assert find_parting(once, None, [(40, 60)], frames, bright(frames[0])) is None
    assert len(looks) == 4


@pytest.mark.parametrize("speed, count", [(4, 29), (6, 21)])
def test_a_point_that_is_covered_is_not_taken_for_what_covers_it(monkeypatch, speed, count):
    """The other thing passes over the point, and then the two are apart."""
    frames, asked = [frame(72, 72 + SIDE - speed * i) for i in range(count)], []
    monkeypatch.setattr(parting, "find_part_under", lambda *given: asked.append(given[3]))
    assert find_parting(bright, None, [(102, 60)], frames, bright(frames[0])) is None
    assert len(asked) == 1 and len(asked[0]) == 2, "which of two parts comes to lie under the point"


@pytest.mark.slow
def test_no_farther_than_it_reaches_and_not_past_a_cut():
    looks = []

    def counted(pictures):
        looks.append(1)
        return bright(pictures)

    same = (frame(30) for _ in range(1000))
    assert find_parting(counted, None, [(50, 60)], same, bright(frame(30))) is None
    assert len(looks) == PARTING_REACH // STRIDE
    cut = [frame(30)] * STRIDE + [1 - picture for picture in leaving(30)]
    assert find_parting(counted, None, [(50, 60)], cut, bright(cut[0])) is None
    assert len(looks) == PARTING_REACH // STRIDE


def test_pictures_are_reduced_for_it():
    assert reduce_picture(torch.rand(1, 720, 1280, 3)).shape == (1, 360, 640, 3)
    assert reduce_picture(torch.rand(1, 40, 64, 4)).shape == (1, 40, 64, 4)
