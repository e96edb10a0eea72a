"""Average pictures over windows of any size, by running sums."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def average_windows(x: Tensor, radius: int) -> Tensor:
    """Average each window of x [...,H,W] that lies completely inside.

    Args:
        x: float [...,H,W].
        radius: pixels from a window's centre to its sides.

    Returns:
        float [...,H - 2 radius,W - 2 radius].
    """
    side = 2 * radius + 1
    along = F.pad(x.cumsum(-1), (1, 0))
    x = along[..., side:] - along[..., :-side]
    down = F.pad(x.cumsum(-2), (0, 0, 1, 0))
    return (down[..., side:, :] - down[..., :-side, :]) / side**2
