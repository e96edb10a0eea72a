"""The measures of soft truths, against values worked out by hand and against the formulas written out as
loops."""

from __future__ import annotations

import numpy as np
import pytest
from cases import blob

from birefnet.evaluation import matting


@pytest.fixture
def mattes() -> tuple[np.ndarray, np.ndarray]:
    prediction, _ = blob(0)
    other = np.roll(prediction, (2, 1), (0, 1))[::-1]
    return prediction / 255, np.ascontiguousarray(other) / 255


def test_sad_and_mse_by_hand():
    alpha, truth = np.full((100, 50), 0.75), np.full((100, 50), 0.25)
    assert matting.sad(alpha, truth) == pytest.approx(2.5)  # 5000 pixels · 0.5 / 1000
    assert matting.mse(alpha, truth) == pytest.approx(0.25)


def test_only_the_region_counts():
    alpha, truth = np.ones((10, 10)), np.zeros((10, 10))
    region = np.zeros((10, 10), bool)
    region[:2, :5] = True
    truth[0, 0] = 1
    assert matting.sad(alpha, truth, region) == pytest.approx(0.009)
    assert matting.mse(alpha, truth, region) == pytest.approx(0.9)
    nowhere = np.zeros((10, 10), bool)
    assert [measure(alpha, truth, nowhere) for measure in (
        matting.sad, matting.mse, matting.gradient_error, matting.connectivity_error)] == [0, 0, 0, 0]


def test_gradient_of_a_ramp_by_hand():
    """On a ramp, a derivative of a Gaussian of unit energy gives slope · Σ −x·g'(x) · Σ g / norm everywhere
    inside."""
    sigma, offset = 1.4, np.arange(-4, 5)
    bell = np.exp(-offset**2 / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    slope = -offset * bell / sigma**2
    response = abs((offset * slope).sum() * bell.sum()) / np.sqrt((bell**2).sum() * (slope**2).sum())
    ramp = np.tile(np.linspace(0, 1, 101), (60, 1))
    inside = np.zeros(ramp.shape, bool)
    inside[10:50, 10:90] = True
    expected = inside.sum() * (0.01 * response) ** 2 / 1000
    assert matting.gradient_error(ramp, np.zeros_like(ramp), inside) == pytest.approx(expected, rel=1e-9)


def test_gradient_against_a_plain_convolution(mattes):
    alpha, truth = mattes
    sigma, offset = 1.4, np.arange(-4, 5)

    def bell(x):
        return np.exp(-x**2 / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))

    kernel = np.array([[bell(y) * -x * bell(x) / sigma**2 for x in offset] for y in offset])
    kernel /= np.sqrt((kernel**2).sum())

    def magnitude(values):
        padded = np.pad(values, 4, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (9, 9))
        return np.hypot((windows * kernel).sum((2, 3)), (windows * kernel.T).sum((2, 3)))

    expected = ((magnitude(alpha) - magnitude(truth)) ** 2).sum() / 1000
    assert matting.gradient_error(alpha, truth) == pytest.approx(expected, rel=1e-9)


def test_an_unconnected_blob_is_a_connectivity_error():
    truth = np.zeros((20, 20))
    truth[2:8, 2:8] = 1
    alpha = truth.copy()
    alpha[15, 15] = 0.7  # apart from the subject; connected up to level 0 only
    assert matting.connectivity_error(alpha, truth) == pytest.approx(0.7 / 1000)
    assert matting.connectivity_error(truth, truth) == 0


def test_connectivity_against_a_flood_fill(mattes):
    alpha, truth = mattes

    def largest(mask):
        best, seen = set(), set()
        for start in zip(*np.nonzero(mask)):
            if start in seen:
                continue
            region, edge = {start}, [start]
            while edge:
                y, x = edge.pop()
                for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                    inside = 0 <= near[0] < mask.shape[0] and 0 <= near[1] < mask.shape[1]
                    if near not in region and inside and mask[near]:
                        region.add(near)
                        edge.append(near)
            seen |= region
            best = max(best, region, key=len)
        return best

    connected = np.ones(truth.shape)
    for level in range(10, 0, -1):  # downwards: the lowest level that fails decides
        core = largest((alpha >= level * 0.1) & (truth >= level * 0.1))
        for place in np.ndindex(*truth.shape):
            if place not in core:
                connected[place] = (level - 1) * 0.1

    def attachment(values):
        return np.where(values - connected >= 0.15, 1 - (values - connected), 1)

    expected = np.abs(attachment(alpha) - attachment(truth)).sum() / 1000
    assert matting.connectivity_error(alpha, truth) == pytest.approx(expected, rel=1e-9)
