"""Predictions and truths that are the same on every machine: blobs of smoothed noise, and degenerate
pictures."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

BLOBS = [(60, 80, 6, 0.5), (128, 96, 10, 0.3), (200, 160, 4, 1.0), (333, 257, 20, 0.2), (96, 96, 8, 3.0)]


def blob(number: int) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, truth) as uint8 [H,W], 0..255; the truth is 0 or 255."""
    height, width, scale, noise = BLOBS[number]
    random = np.random.default_rng(number)
    base = ndimage.gaussian_filter(random.standard_normal((height, width)), scale)
    truth = base > np.quantile(base, 0.7)
    rough = ndimage.gaussian_filter(base + noise * base.std() * random.standard_normal(base.shape), 1.5)
    rough = (rough - rough.min()) / np.ptp(rough)
    prediction = 1 / (1 + np.exp(-12 * (rough - 0.6)))
    return (prediction * 255).round().astype(np.uint8), truth.astype(np.uint8) * 255


def flat(prediction: int, truth: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((40, 50), prediction, np.uint8), np.full((40, 50), truth, np.uint8)


CASES = {**{f"blob {number}": blob(number) for number in range(len(BLOBS))},
         "nothing, rightly": flat(0, 0), "everything, wrongly": flat(255, 0), "grey on all": flat(99, 255)}
