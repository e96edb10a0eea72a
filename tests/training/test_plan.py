"""The plan: rates, phases, sizes and the final phase by step."""

from __future__ import annotations

import math

import pytest

from birefnet.training.losses import WEIGHTS
from birefnet.training.plan import TASKS, Phase, Size, TrainingPlan, default_rate


def test_every_task_has_its_losses_and_the_authors_rate():
    assert TASKS.keys() == WEIGHTS.keys()
    assert {task: default_rate(task, 4) for task in TASKS} == {
        "general": 1e-5, "dis": 1e-4, "cod": 1e-5, "hrsod": 1e-5, "matting": 1e-5}
    assert default_rate("dis", 8) == pytest.approx(1e-4 * math.sqrt(2))


@pytest.mark.parametrize("step, rate", [(0, 0.2e-3), (4, 1e-3), (5, 1e-3), (105, 0.01e-3)])
def test_the_rate_warms_up_and_falls_along_a_cosine(step, rate):
    assert TrainingPlan(steps=105, warm_up=5, rate=1e-3, cosine=True).rate_at(step) == pytest.approx(rate)


def test_the_rate_stays_unless_asked():
    assert {TrainingPlan(steps=100, rate=2e-5).rate_at(step) for step in range(100)} == {2e-5}


def test_sizes_grow_with_the_run():
    plan = TrainingPlan(steps=2400,
                        phases=(Phase(0.45, Size.fixed(224, 224)), Phase(0.25, Size.fixed(288, 288)),
                                    Phase(0.3, Size.fixed(320, 320))))
    assert [plan.size_at(step)[0]
            for step in (0, 1079, 1080, 1679, 1680, 2399)] == [224, 224, 288, 288, 320, 320]


def test_the_last_phase_takes_what_rounding_leaves():
    plan = TrainingPlan(steps=10,
                        phases=tuple(Phase(1 / 3, Size.fixed(side, side)) for side in (64, 96, 128)))
    assert [plan.size_at(step)[0] for step in range(10)] == [64] * 4 + [96] * 3 + [128] * 3


def test_the_last_tenth_goes_without_cross_entropy():
    plan = TrainingPlan(steps=50, task="dis")
    assert [("bce" in plan.weights_at(step)) for step in (0, 44, 45, 49)] == [True, True, False, False]
    assert plan.weights_at(49) == {"iou": 0.5, "ssim": 10.0}
    assert plan.weights_at(0) == WEIGHTS["dis"] and "bce" in TrainingPlan(steps=50, final=0.0).weights_at(49)


@pytest.mark.parametrize("text, lowest, highest, single", [
    ("512", (512, 512), (512, 512), (512, 512)), ("2560x1440", (1440, 2560), (1440, 2560), (1440, 2560)),
    ("256-1024", (256, 256), (1024, 1024), None)])
def test_sizes_are_written_as_elsewhere(text, lowest, highest, single):
    size = Size.parse(text)
    assert (size.lowest, size.highest, size.single, str(size)) == (lowest, highest, single, text)


@pytest.mark.parametrize("text", ["500", "32", "10000", "1024-512", "512-512", "a", "", "512x", "64-96-128"])
def test_other_sizes_are_refused(text):
    with pytest.raises(ValueError, match="expected"):
        Size.parse(text)
