"""The levels of 8-bit pictures: the conversion to them, and what is too little to reach one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # evaluation's worker processes do without it
    from torch import Tensor

HALF_LEVEL = 0.5 / 255  # smaller alpha rounds to 0 in 8 bits, and smaller differences vanish


def to_levels(values: Tensor | np.ndarray) -> np.ndarray:
    """Convert floats in 0..1, of any shape, to the nearest of the levels 0 to 255 (uint8).

    Values beyond 0..1 are clipped; NaN has no defined level.
    """
    if isinstance(values, np.ndarray):
        return np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return (values.float().clamp(0, 1) * 255).round().byte().cpu().numpy()
