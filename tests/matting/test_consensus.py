"""Clicks elsewhere on the matte complete a prediction, and take away what is another subject's."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from birefnet.matting.subject.consensus import place_probes, weigh_probes
from birefnet.matting.subject.prompts import draw_touches

SIDE, SMALL = 128, 64
LEFT, RIGHT = slice(8, 60), slice(60, 120)  # columns of two subjects that touch
ROWS = slice(30, 100)


def two_subjects(x: float, y: float) -> torch.Tensor:
    """A click on one of two subjects side by side."""
    maps = torch.zeros(1, 5, SIDE, SIDE)
    maps[0, 0] = draw_touches([(x, y)], SIDE)
    maps[0, 4, ROWS, LEFT] = maps[0, 4, ROWS, RIGHT] = 1
    return maps


def knowing(prompts: torch.Tensor) -> torch.Tensor:
    """A selector that chooses the subject under each prompt's touches, not quite surely."""
    found = torch.full((len(prompts), 1, SIDE, SIDE), 0.1)
    for i, touched in enumerate(prompts[:, 0]):
        column = float(touched.nonzero().float().mean(0)[1])
        found[i, 0, ROWS, LEFT if column < LEFT.stop else RIGHT] = 0.9
    return F.avg_pool2d(found, 2)


def share(meant: torch.Tensor, columns: slice) -> float:
    large = F.interpolate(meant, (SIDE, SIDE))
    return float((large[0, 0, ROWS, columns] > 0.5).float().mean())


def test_a_part_becomes_the_whole_subject_and_no_other():
    maps = two_subjects(20, 64)
    guess = torch.full((1, 1, SMALL, SMALL), 0.2)
    guess[..., ROWS.start // 2:ROWS.stop // 2, 4:18] = 0.8  # the left third
    assert share(guess, LEFT) < 0.6
    meant = weigh_probes(guess, maps, knowing)
    assert meant.shape == guess.shape and share(meant, LEFT) > 0.95 and share(meant, RIGHT) < 0.05


def test_both_become_the_one_that_was_clicked():
    guess = torch.full((1, 1, SMALL, SMALL), 0.1)
    guess[..., ROWS.start // 2:ROWS.stop // 2, 4:60] = 0.6  # both, unsure
    for x, own, other in ((20, LEFT, RIGHT), (100, RIGHT, LEFT)):
        meant = weigh_probes(guess, two_subjects(x, 64), knowing)
        assert share(meant, own) > 0.95 and share(meant, other) < 0.05


def test_probes_lie_on_the_matte_far_from_the_click_and_each_other():
    maps = two_subjects(20, 64)
    places = torch.tensor(place_probes(maps, 6))
    assert len(places) == 6
    assert all(maps[0, 4, int(y), int(x)] == 1 for x, y in places)
    everything = torch.cat([torch.tensor([[20.0, 64.0]]), places])
    assert torch.pdist(everything).min() > 20


def test_a_tiny_matte_gets_no_probes_and_keeps_its_prediction():
    maps = torch.zeros(1, 5, SIDE, SIDE)
    maps[0, 0, 60:64, 60:64] = maps[0, 4, 60:64, 60:64] = 1
    guess = torch.rand(1, 1, SMALL, SMALL, generator=torch.Generator().manual_seed(0))
    assert place_probes(maps, 6) == []
    assert torch.equal(weigh_probes(guess, maps, knowing), guess)
