"""Run the network again at windows of the picture, and use its alpha where it agrees with the first one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ... import masks
from .windows import Answer

COARSE = 12       # both mattes are compared at the resolution of a window's side divided by this
TOLERANCE = 0.2   # difference of alpha at that resolution at which the window's weight is 1/e


def ask_network(alpha_of: Callable[[torch.Tensor], torch.Tensor], side: int) -> Answer:
    """Return an answer for `blend_windows` by the network's alpha of each window; raises PackageError if
    kornia is missing.

    Args:
        alpha_of: pictures [n,h,w,C] -> alpha [n,h,w].
        side: pixels of a window's side.
    """
    def answer(first: torch.Tensor, pictures: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        new = alpha_of(pictures).to(first)
        return first + agreement(first, new, side) * (new - first)

    return answer


def agreement(first: torch.Tensor, new: torch.Tensor, side: int) -> torch.Tensor:
    """The weight of a window's new alpha.

    A network that sees only a part may miss the subject there, or take it for the background. So both mattes
    are blurred to the detail that the first one can have, and the weight is exp(-(d / TOLERANCE)²), where d
    is their difference averaged around each pixel. New detail that the blur removes keeps its weight.

    Args:
        first, new: alpha of the whole picture's pass and of the window's, float [n,h,w] in 0..1.
        side: pixels of the window's side.

    Returns:
        float [n,h,w] in 0..1.
    """
    radius = side / COARSE
    apart = (masks.feather(new, radius / 2) - masks.feather(first, radius / 2)).abs()
    return torch.exp(-(masks.feather(apart, radius) / TOLERANCE) ** 2)
