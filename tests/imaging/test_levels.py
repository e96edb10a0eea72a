"""Floats become 8-bit levels in one way, whatever holds them."""

import numpy as np
import pytest
import torch

from birefnet.imaging.levels import HALF_LEVEL, to_levels

VALUES = [0.0, 0.99 * HALF_LEVEL, 1.01 * HALF_LEVEL, 0.25, 1 - 1.01 * HALF_LEVEL, 1 - 0.99 * HALF_LEVEL,
          -0.1, 1.5]
LEVELS = [0, 0, 1, 64, 254, 255, 0, 255]


@pytest.mark.parametrize("values", [torch.tensor(VALUES), torch.tensor(VALUES, dtype=torch.float64),
                                    np.array(VALUES)], ids=["float32", "float64", "array"])
def test_the_nearest_level_within_the_range(values):
    levels = to_levels(values)
    assert levels.dtype == np.uint8 and levels.tolist() == LEVELS
