"""Measures of a grey prediction against a binary truth, as in tables of salient-object and dichotomous
segmentation.

In all functions, `prediction` is float [H,W] in 0..1 and `truth` bool [H,W]. Published tables first stretch a
prediction to 0..1 (`stretch`); this is left to the caller, so that masks can also be scored as they are.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LEVELS = 256        # thresholds of the curves: prediction · 255 ≥ 255, 254, …, 0
F_BETA2 = 0.3       # weight of recall in F, Achanta et al. 2009
BORDER = 0.02       # width of boundary IoU's border, as a share of the picture's diagonal
TINY = np.spacing(1)  # Matlab's eps in the authors' code: avoids division by 0


def stretch(prediction: np.ndarray) -> np.ndarray:
    """Scale a prediction linearly to 0..1, as published tables do; a constant one is returned as it is."""
    low, high = prediction.min(), prediction.max()
    return prediction if low == high else (prediction - low) / (high - low)


def absolute_error(prediction: np.ndarray, truth: np.ndarray) -> float:
    """MAE: mean |prediction − truth|."""
    return float(np.abs(prediction - truth).mean())


def iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of prediction > 0.5 and the truth; 1 where both are empty."""
    found = prediction > 0.5
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def boundary_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """IoU of the inner borders of prediction > 0.5 and the truth (Cheng et al. 2021).

    The border of a mask is its pixels within BORDER times the picture's diagonal (at least one pixel,
    Chebyshev distance) of the outside. The area beyond the picture counts as outside.
    """
    reach = max(1, round(BORDER * float(np.hypot(*truth.shape))))
    borders = [mask & ~_erode(mask, reach) for mask in (prediction > 0.5, truth)]
    return iou(borders[0].astype(np.float32), borders[1])


def _erode(mask: np.ndarray, reach: int) -> np.ndarray:
    """Erode a mask by `reach` pixels (Chebyshev distance)."""
    return ndimage.minimum_filter(mask.astype(np.uint8), 2 * reach + 1, mode="constant", cval=0).astype(bool)


# Curves over all thresholds ---------------------------------------------------------------------------------


def counts_over_thresholds(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels found inside and outside the truth at each threshold, 255 to 0: two arrays [256]."""
    level = (prediction * 255).astype(np.uint8)
    inside = np.bincount(level[truth], minlength=LEVELS)[::-1].cumsum()
    outside = np.bincount(level[~truth], minlength=LEVELS)[::-1].cumsum()
    return inside, outside


def f_curve(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """F = (1+β²)·P·R / (β²·P + R), β² = 0.3, at each threshold, [256], 255 first; 0 where nothing is
    found."""
    inside, outside = counts_over_thresholds(prediction, truth)
    precision = inside / np.maximum(inside + outside, 1)
    recall = inside / max(np.count_nonzero(truth), 1)
    above, below = (1 + F_BETA2) * precision * recall, F_BETA2 * precision + recall
    return np.divide(above, below, out=np.zeros(LEVELS), where=below > 0)


def e_curve(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """E-measure at every threshold, [256], 255 first (Fan et al. 2018).

    With a = found − mean(found) and b = truth − mean(truth), a pixel's alignment is 2ab/(a²+b²), its score
    (alignment + 1)²/4. Both masks are binary, so there are four kinds of pixels, and their counts suffice.
    The sum is divided by pixels − 1, as in the authors' code.
    """
    inside, outside = counts_over_thresholds(prediction, truth)
    pixels, positive = truth.size, np.count_nonzero(truth)
    found = inside + outside
    if positive == 0:
        return (pixels - found) / (pixels - 1 + TINY)
    if positive == pixels:
        return found / (pixels - 1 + TINY)
    kinds = ((inside, 1, 1), (outside, 1, 0), (positive - inside, 0, 1), (pixels - positive - outside, 0, 0))
    total = np.zeros(LEVELS)
    for count, is_found, is_true in kinds:
        a, b = is_found - found / pixels, is_true - positive / pixels
        alignment = 2 * a * b / (a * a + b * b + TINY)
        total += count * (alignment + 1) ** 2 / 4
    return total / (pixels - 1 + TINY)


# Structure --------------------------------------------------------------------------------------------------


def s_measure(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Structure measure (Fan et al. 2017): half object-aware, half region-aware similarity, at least 0."""
    share = truth.mean()
    if share == 0:
        return float(1 - prediction.mean())
    if share == 1:
        return float(prediction.mean())
    of_object = share * _object(prediction[truth]) + (1 - share) * _object(1 - prediction[~truth])
    return float(max(0.0, 0.5 * of_object + 0.5 * _region(prediction, truth)))


def _object(values: np.ndarray) -> float:
    """Similarity 2x/(x² + 1 + σ) of values that should be 1; x: their mean, σ: their standard deviation."""
    mean = values.mean()
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * mean / (mean * mean + 1 + spread + TINY)


def _region(prediction: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of the four quarters around the truth's centroid, weighted by their areas."""
    rows, columns = np.nonzero(truth)
    # As in the authors' Matlab code, the centroid is rounded, and belongs to the first quarter.
    y, x = int(np.round(rows.mean())) + 1, int(np.round(columns.mean())) + 1
    score = 0.0
    for part in ((slice(None, y), slice(None, x)), (slice(None, y), slice(x, None)),
                 (slice(y, None), slice(None, x)), (slice(y, None), slice(x, None))):
        if truth[part].size:
            score += truth[part].size / truth.size * _ssim(prediction[part], truth[part])
    return score


def _ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of one region: 4·x̄·ȳ·σxy / ((x̄²+ȳ²)(σx²+σy²)); 1 if numerator and denominator are 0."""
    truth = truth.astype(np.float64)
    count = max(truth.size - 1, 1)
    x, y = prediction.mean(), truth.mean()
    variance = ((prediction - x) ** 2).sum() / count + ((truth - y) ** 2).sum() / count
    covariance = ((prediction - x) * (truth - y)).sum() / count
    above, below = 4 * x * y * covariance, (x * x + y * y) * variance
    if above != 0:
        return above / (below + TINY)
    return 1.0 if below == 0 else 0.0


def weighted_f(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Weighted F (Margolin, Zelnik-Manor and Tal 2014) with β = 1; 0 if the truth is empty.

    Errors outside weigh less the closer they are to the truth, and an error inside counts at most as much as
    the errors around it.
    """
    if not truth.any():
        return 0.0
    distance, (rows, columns) = ndimage.distance_transform_edt(~truth, return_indices=True)
    error = np.abs(prediction - truth)
    # For the smoothing, pixels outside take the error of the nearest pixel inside.
    spread = ndimage.convolve(error[rows, columns], _gaussian(7, 5), mode="constant")
    eased = np.where(truth & (spread < error), spread, error)
    importance = np.where(truth, 1.0, 2 - np.exp(np.log(0.5) / 5 * distance))
    weighted = eased * importance
    hits = truth.sum() - weighted[truth].sum()
    recall = 1 - weighted[truth].mean()
    precision = hits / (hits + weighted[~truth].sum() + TINY)
    return float(2 * recall * precision / (recall + precision + TINY))


def _gaussian(side: int, sigma: float) -> np.ndarray:
    """A Gaussian kernel [side,side] that sums to 1."""
    offset = np.arange(side) - side // 2
    kernel = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()
