"""Measures of a matte against a soft truth (Rhemann et al. 2009): SAD, MSE, gradient and connectivity errors.

In all functions, `alpha` and `truth` are float [H,W] in 0..1, and `region` is a bool [H,W] of the pixels that
count (a trimap's unknown band), None for all. SAD, gradient and connectivity errors are in thousands, as in
published tables.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy import ndimage

SIGMA = 1.4                # pixels, of the Gaussian derivative
LEVEL_STEP = 0.1           # between the levels of the connectivity error
LEAST_DISTANCE = 0.15      # of alpha above a pixel's connected level, from which it counts as not connected


def sad(alpha: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float:
    """Σ |alpha − truth| / 1000."""
    return _sum(np.abs(alpha - truth), region) / 1000


def mse(alpha: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float:
    """Mean (alpha − truth)²; 0 for an empty region."""
    pixels = truth.size if region is None else np.count_nonzero(region)
    return _sum((alpha - truth) ** 2, region) / max(pixels, 1)


def gradient_error(alpha: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float:
    """Σ (|∇alpha| − |∇truth|)² / 1000, by derivatives of a Gaussian of sigma 1.4, scaled to unit energy."""
    return _sum((_gradient(alpha) - _gradient(truth)) ** 2, region) / 1000


def connectivity_error(alpha: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float:
    """Σ |φ(alpha) − φ(truth)| / 1000; φ = 1 − d where d = value − l ≥ 0.15, else 1.

    l is the highest of the levels 0, 0.1, …, 1 up to which a pixel belongs to the largest region, connected
    by edges, where both mattes reach the level.
    """
    connected = np.full(truth.shape, -1.0)
    levels = np.arange(0, 1 + LEVEL_STEP, LEVEL_STEP)
    for below, level in zip(levels, levels[1:]):
        core = _largest((alpha >= level) & (truth >= level))
        connected[(connected == -1) & ~core] = below
    connected[connected == -1] = 1
    return _sum(np.abs(_attachment(alpha, connected) - _attachment(truth, connected)), region) / 1000


def _attachment(values: np.ndarray, connected: np.ndarray) -> np.ndarray:
    """φ of a matte [H,W], given each pixel's connected level l."""
    away = values - connected
    return 1 - away * (away >= LEAST_DISTANCE)


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected region of a mask, as a mask."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


def _gradient(values: np.ndarray) -> np.ndarray:
    """Gradient magnitude [H,W]; the outermost pixels repeat beyond the border."""
    # The kernel ends where the Gaussian has fallen to 0.01.
    reach = int(np.ceil(SIGMA * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * SIGMA * 0.01))))
    offset = np.arange(-reach, reach + 1)
    bell = np.exp(-(offset**2) / (2 * SIGMA**2)) / (SIGMA * np.sqrt(2 * np.pi))
    slope = -offset * bell / SIGMA**2
    norm = np.sqrt((bell**2).sum() * (slope**2).sum())  # of the 2-D kernel, their outer product
    correlate = functools.partial(ndimage.correlate1d, mode="nearest")
    across = correlate(correlate(values, slope, 1), bell, 0)
    along = correlate(correlate(values, slope, 0), bell, 1)
    return np.hypot(across, along) / norm


def _sum(values: np.ndarray, region: np.ndarray | None) -> float:
    return float(values.sum() if region is None else values[region].sum())
