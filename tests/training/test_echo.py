"""Echoed pictures: how often each is learnt from, that they are moved with their mattes, and that runs go on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from birefnet.training.data import echo
from birefnet.training.data.echo import echoed, moved
from birefnet.training.plan import Phase, Plan, Size

CPU = torch.device("cpu")
PLAN = Plan(steps=60, batch=8, echo=4, seed=3, phases=(Phase(0.8, Size.fixed(32, 32)), Phase(0.2, Size.fixed(64, 64))))


class Numbered:
    """Picture n is black but for a square in the corner, whose alpha is n + 1."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def item(self, step: int):
        side = self.plan.size_at(step)[0]
        alphas = torch.zeros(self.plan.new, 1, side, side, dtype=torch.uint8)
        for i in range(self.plan.new):
            alphas[i, :, side // 4:-side // 4, side // 4:-side // 4] = step * self.plan.new + i + 1
        return alphas.expand(-1, 3, -1, -1).contiguous(), alphas


def learnt(plan: Plan = PLAN, start: int = 0, rank: int = 0) -> list:
    return list(echoed(Numbered(plan), plan, start, 0, CPU, rank))


def numbers(alphas: torch.Tensor) -> list[int]:
    return [round(alpha.max().item() * 255) - 1 for alpha in alphas]


def test_a_batch_is_new_pictures_as_they_are_and_old_ones():
    for step, (images, alphas) in enumerate(learnt()):
        side = 32 if step < 48 else 64
        assert images.shape == (8, 3, side, side) and alphas.shape == (8, 1, side, side)
        new, old = numbers(alphas)[:2], numbers(alphas)[2:]
        assert new == [2 * step, 2 * step + 1] and torch.equal(images[:2], alphas[:2].expand(-1, 3, -1, -1))
        lowest = 2 * (48 if step >= 48 else 0)  # of this size
        assert all(lowest <= number < max(2 * step, lowest + 2) for number in old)


def test_each_is_learnt_from_as_often_as_asked_and_not_long_after(monkeypatch):
    monkeypatch.setattr(echo, "POOL", 10)
    plan = replace(PLAN, phases=(Phase(1.0, Size.fixed(32, 32)),))
    seen = Counter()
    for step, (_, alphas) in enumerate(learnt(plan)):
        assert min(numbers(alphas)) >= 2 * (step - 10)
        seen.update(numbers(alphas))
    times = [seen[number] for number in range(20, 100)]  # neither among the first nor cut off by the end
    assert np.mean(times) == pytest.approx(4, abs=0.5) and min(times) >= 1


def test_a_run_goes_on_with_the_same_pictures(monkeypatch):
    monkeypatch.setattr(echo, "POOL", 10)
    whole = learnt()
    for start in (5, 30, 50):
        rest = learnt(start=start)
        assert len(rest) == 60 - start
        assert all(torch.equal(a, b) for x, y in zip(whole[start:], rest) for a, b in zip(x, y))


def test_processes_echo_other_pictures():
    one, other = (learnt(rank=rank)[20][1] for rank in (0, 1))
    assert numbers(one)[2:] != numbers(other)[2:]


def test_without_echo_nothing_is_moved():
    plan = replace(PLAN, echo=1, batch=2)
    for step, (images, alphas) in enumerate(learnt(plan)):
        assert numbers(alphas) == [2 * step, 2 * step + 1] and torch.equal(images, alphas.expand(-1, 3, -1, -1))


def test_image_and_matte_are_moved_alike():
    """A smooth picture that is its own matte stays one, but for the light."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    alpha = torch.exp(-((x - 0.2) ** 2 + y**2) * 4).expand(40, 1, -1, -1)
    images, alphas = moved((alpha.expand(-1, 3, -1, -1), alpha), np.random.default_rng(0))
    assert images.min() >= 0 and images.max() <= 1 and alphas.min() >= 0 and alphas.max() <= 1
    peaks = [divmod(int(part[0].argmax()), 64) for part in alphas]
    assert len({row for row, _ in peaks}) > 5 and len({column for _, column in peaks}) > 5
    assert np.mean([column > 32 for _, column in peaks]) == pytest.approx(0.5, abs=0.25)  # mirrored or not
    for image, mine in zip(images, alphas):
        bright = mine[0] > 0.5
        assert image.mean(0)[bright].min() > image.mean(0)[~bright].mean()
