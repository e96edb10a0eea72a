"""Run the network again at windows of the picture, and use its alpha where it agrees with the first one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ... import masks
from .windows import blend_windows

COARSE = 12       # both mattes are compared at the resolution of a window's side divided by this
TOLERANCE = 0.2   # difference of alpha at that resolution at which the window's weight is 1/e


def refine_by_network(
    alpha_of: Callable[[torch.Tensor], torch.Tensor],
    alpha: torch.Tensor,
    image: torch.Tensor,
    weight: torch.Tensor,
    side: int,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Refine alpha with the network's alpha of windows of the picture.

    Args:
        alpha_of: pictures [n,h,w,C] -> alpha [n,h,w].
        alpha: float [1,H,W] in 0..1.
        image: float [1,H,W,C] in 0..1.
        weight: float [1,H,W]; windows are placed wherever it is above 0.
        side: pixels of a window's side.
        progress: progress(done, total) is called with numbers of windows.

    Returns:
        float [1,H,W] in 0..1.

    Raises:
        PackageError: kornia is missing.
    """
    def ask(first: torch.Tensor, pictures: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        new = alpha_of(pictures).to(first)
        return first + agreement(first, new, side) * (new - first)

    return blend_windows(ask, alpha, image, weight, side, progress)


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
