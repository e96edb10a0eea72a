"""Runs and union-find against scipy's labelling, which numbers components in reading order too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from birefnet.masks.components import find_runs, paint, sums


def noise(density: float, size: tuple[int, int] = (120, 97)) -> np.ndarray:
    return np.random.default_rng(1).random(size) < density


def spiral(side: int = 81) -> np.ndarray:
    """One path of one pixel's width, with one pixel between its turns: the deepest tree a labelling can meet."""
    picture = np.zeros((side, side), bool)
    row, column, down, right = 0, 0, 0, 1
    picture[0, 0] = True
    length, legs = side - 1, 0
    while length > 0:
        for _ in range(length):
            row, column = row + down, column + right
            picture[row, column] = True
        down, right = right, -down
        legs += 1
        if legs == 3 or (legs > 3 and legs % 2 == 1):
            length -= 2
    return picture


def comb(height: int = 60, width: int = 61) -> np.ndarray:
    picture = np.zeros((height, width), bool)
    picture[:, ::2] = True
    picture[-1] = True
    return picture


PICTURES = {
    **{f"noise {density}": noise(density) for density in (0.05, 0.3, 0.41, 0.5, 0.59, 0.8)},
    "spiral": spiral(),
    "comb": comb(),
    "comb upside down": comb()[::-1],
    "diagonal": np.eye(40, dtype=bool),
    "other diagonal": np.eye(40, dtype=bool)[::-1],
    "chessboard": np.indices((30, 31)).sum(0) % 2 == 0,
    "two edges": np.pad(np.zeros((5, 5), bool), ((0, 0), (1, 1)), constant_values=True),
    "full": np.ones((20, 30), bool),
    "empty": np.zeros((20, 30), bool),
    "one pixel": np.ones((1, 1), bool),
    "row": noise(0.5, (1, 200)),
    "column": noise(0.5, (200, 1)),
}


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("name", PICTURES)
def test_components_are_scipys(name, diagonal):
    picture = PICTURES[name]
    expected, count = ndimage.label(picture, np.ones((3, 3)) if diagonal else None)
    runs = find_runs(picture, diagonal)
    assert runs.count == count
    np.testing.assert_array_equal(paint(runs.label + 1, runs, picture.shape), expected)


def test_the_spiral_is_one_long_path():
    assert spiral().sum() > 3000 and find_runs(spiral(), diagonal=False).count == 1


@pytest.mark.parametrize("diagonal", [True, False])
def test_sums_are_scipys(diagonal):
    values = np.random.default_rng(2).random((90, 80)).astype(np.float32)
    picture = values > 0.55
    labels, count = ndimage.label(picture, np.ones((3, 3)) if diagonal else None)
    expected = ndimage.sum_labels(values.astype(np.float64), labels, np.arange(1, count + 1))
    np.testing.assert_allclose(sums(values, find_runs(picture, diagonal)), expected, rtol=1e-6)
