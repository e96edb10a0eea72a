"""The rasteriser behind the rendered people; the body model itself is a training-only package."""

from __future__ import annotations

import numpy as np
import pytest

from birefnet.training.nano.people import rasterise

# A square of two triangles over the whole picture, and a smaller triangle in its middle.
POINTS = np.array([[0, 0], [20, 0], [20, 12], [0, 12], [5, 3], [15, 3], [10, 9]], float)
FACES = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("depth, middle", [(-1.0, 2), (1.0, 0)])
def test_the_nearest_face_is_seen(depth, middle):
    index, _ = rasterise(POINTS, np.array([0, 0, 0, 0, depth, depth, depth]), FACES, 12, 20)
    assert index.shape == (12, 20) and index[4, 11] == middle
    assert (index >= 0).all() and index[0, 18] == 0 and index[11, 1] == 1


def test_weights_give_back_the_position():
    index, weights = rasterise(POINTS, np.zeros(7), FACES[:2], 12, 20)
    y, x = np.mgrid[0:12, 0:20]
    placed = (POINTS[FACES[index]] * weights[..., None]).sum(2)
    assert np.allclose(weights.sum(2), 1) and (weights >= 0).all()
    assert (np.floor(placed) == np.stack([x, y], -1)).all()


def test_what_lies_outside_the_picture_is_not_drawn():
    index, _ = rasterise(POINTS - 100, np.zeros(7), FACES, 12, 20)
    assert (index == -1).all()
