"""The measures of binary truths: number by number those of the public implementations (see reference.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cases import CASES
from scipy import ndimage

from birefnet.evaluation import saliency
from birefnet.evaluation.hce import human_correction_efforts
from birefnet.evaluation.scores import Means, score

REFERENCE = json.loads(Path(__file__).with_name("reference.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_every_measure_is_the_public_implementations(name):
    prediction, truth = CASES[name]
    ours = score(prediction / 255, truth / 255).values
    theirs = REFERENCE[name]
    measures = ["s_measure", "weighted_f", "e_measure", "mean_f", "max_f", "mae"]
    if name.startswith("blob"):  # a region that fills the picture is not counted by theirs
        measures.append("hce")
    for measure in measures:
        assert ours[measure] == pytest.approx(theirs[measure], abs=1e-12), measure


@pytest.mark.parametrize("name", CASES)
def test_curves_begin_at_the_highest_threshold(name):
    prediction, truth = CASES[name]
    full, binary = saliency.stretch(prediction / 255), truth > 128
    assert saliency.f_curve(full, binary)[155] == pytest.approx(REFERENCE[name]["f_at_100"], abs=1e-12)
    assert saliency.e_curve(full, binary)[155] == pytest.approx(REFERENCE[name]["e_at_100"], abs=1e-12)


def test_a_data_sets_best_f_is_that_of_the_mean_curve():
    means = Means()
    curves = []
    for number in (0, 2):
        prediction, truth = CASES[f"blob {number}"]
        result = score(prediction / 255, truth / 255)
        curves.append(result.f_curve)
        means.add(result)
    assert means.values()["max_f"] == np.mean(curves, 0).max()
    assert means.values()["max_f"] < np.mean([curve.max() for curve in curves])


def test_a_perfect_prediction_has_perfect_measures():
    truth = np.zeros((64, 64))
    truth[10:50, 20:40] = 1
    values = score(truth, truth).values
    # The best-known trap: E is divided by pixels − 1.
    expected = {"s_measure": 1, "weighted_f": 1, "max_f": 1, "mae": 0, "hce": 0, "iou": 1, "boundary_iou": 1}
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_a_single_true_pixel_is_scored():
    truth = np.zeros((40, 50), bool)
    truth[0, 0] = True
    assert 0 < saliency.s_measure(np.where(truth, 0.9, 0.1), truth) < 1


def test_boundary_iou_counts_what_is_near_the_outside():
    truth = np.zeros((100, 100), bool)
    truth[20:80, 20:80] = True
    moved = np.roll(truth, 2, 1)

    def border(mask):  # 2 % of the diagonal of 141 is 3
        return mask & ~ndimage.binary_erosion(mask, np.ones((7, 7)))

    a, b = border(moved), border(truth)
    assert saliency.boundary_iou(moved.astype(float), truth) == (a & b).sum() / (a | b).sum()
    assert saliency.boundary_iou(moved.astype(float), truth) < saliency.iou(moved.astype(float), truth) - 0.3


def test_the_pictures_edge_is_a_boundary():
    truth = np.ones((50, 50), bool)
    hole = np.ones((50, 50))
    hole[20:30, 20:30] = 0  # far from every border of the truth
    assert saliency.boundary_iou(truth.astype(float), truth) == 1
    assert 0.5 < saliency.boundary_iou(hole, truth) < 1


def square(*box: int) -> np.ndarray:
    mask = np.zeros((200, 200))
    top, left, bottom, right = box
    mask[top:bottom, left:right] = 1
    return mask


@pytest.mark.parametrize("prediction, clicks", [
    (square(40, 40, 160, 160), 0),                                    # right
    (square(42, 42, 158, 158), 0),                                    # within the forgiven 5 pixels
    (square(40, 40, 160, 160) + square(170, 170, 190, 190), 1),       # one stray region: a click removes it
    (square(40, 40, 160, 160) - square(80, 80, 110, 110), 1),         # a hole: a click fills it
    # a notch: its open side is a line of two corners
    (square(40, 40, 160, 160) - square(40, 80, 100, 120), 2),
])
def test_hce_of_hand_worked_cases(prediction, clicks):
    truth = square(40, 40, 160, 160) > 0
    assert human_correction_efforts(prediction, truth) == clicks
