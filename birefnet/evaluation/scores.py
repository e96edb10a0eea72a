"""Compute all measures of one prediction, and their means over a data set."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import matting, saliency
from .hce import human_correction_efforts

# In the order of tables; the first block compares with a truth made binary, the second with the soft one.
MEASURES = ("s_measure", "weighted_f", "e_measure", "max_f", "mean_f", "mae", "hce", "iou", "boundary_iou",
            "sad", "mse", "gradient", "connectivity")


@dataclass
class Score:
    """Measures of one picture by name. f_curve: F at each threshold, see `saliency.f_curve`. max_f is the
    picture's largest F; that of a data set is the largest of the mean curve."""

    values: dict[str, float]
    f_curve: np.ndarray = field(repr=False)


def score(prediction: np.ndarray, truth: np.ndarray, unknown: np.ndarray | None = None) -> Score:
    """Compute all measures of a prediction.

    As in published tables, the saliency measures stretch the prediction to 0..1 and binarise the truth at
    128/255. HCE, IoU and boundary IoU use the same truth, and the unstretched prediction thresholded at one
    half (HCE at 128/255).

    Args:
        prediction, truth: float [H,W] in 0..1.
        unknown: bool [H,W], the pixels that count for the matting measures; None for all.
    """
    binary = truth > 128 / 255
    full = saliency.stretch(prediction)
    f_curve = saliency.f_curve(full, binary)
    values = {
        "s_measure": saliency.s_measure(full, binary),
        "weighted_f": saliency.weighted_f(full, binary),
        "e_measure": float(saliency.e_curve(full, binary).mean()),
        "max_f": float(f_curve.max()),
        "mean_f": float(f_curve.mean()),
        "mae": saliency.absolute_error(full, binary),
        "hce": float(human_correction_efforts(prediction, binary)),
        "iou": saliency.iou(prediction, binary),
        "boundary_iou": saliency.boundary_iou(prediction, binary),
        "sad": matting.sad(prediction, truth, unknown),
        "mse": matting.mse(prediction, truth, unknown),
        "gradient": matting.gradient_error(prediction, truth, unknown),
        "connectivity": matting.connectivity_error(prediction, truth, unknown),
    }
    return Score(values, f_curve)


class Means:
    """Running means over a data set."""

    def __init__(self) -> None:
        self.pictures = 0
        self.totals = dict.fromkeys(MEASURES, 0.0)
        self.f_total = np.zeros(saliency.LEVELS)

    def add(self, score: Score) -> None:
        """Add one picture's measures."""
        self.pictures += 1
        for name in MEASURES:
            self.totals[name] += score.values[name]
        self.f_total += score.f_curve

    def values(self) -> dict[str, float]:
        """Means by name; max_f is the largest value of the mean curve."""
        means = {name: total / max(self.pictures, 1) for name, total in self.totals.items()}
        return means | {"max_f": float(self.f_total.max() / max(self.pictures, 1))}
