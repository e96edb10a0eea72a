"""The network asked again, at windows of the picture, and believed as far as it agrees with its first answer."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ... import masks
from .windows import blended

COARSE = 12       # of these to a window's side is what both answers must agree on
TOLERANCE = 0.2   # difference of alpha there at which the window's answer counts 1/e


def requery(
    alpha_of: Callable[[torch.Tensor], torch.Tensor],
    alpha: torch.Tensor,
    image: torch.Tensor,
    weight: torch.Tensor,
    side: int,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Alpha [1,H,W] with the network's answers to windows of side × side pixels wherever weight [1,H,W] > 0.

    alpha_of: pictures [n,h,w,C] -> alpha [n,h,w]. image: [1,H,W,C].
    """
    def ask(first: torch.Tensor, pictures: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        new = alpha_of(pictures).to(first)
        return first + agreement(first, new, side) * (new - first)

    return blended(ask, alpha, image, weight, side, progress)


def agreement(first: torch.Tensor, new: torch.Tensor, side: int) -> torch.Tensor:
    """How far to believe a window's answer `new` [n,h,w], 0..1 per pixel.

    A network that sees a part only may lose the subject there, or take it for the background. So both answers are
    blurred until only what the first one could know is left, and their difference d, averaged around each pixel,
    counts: exp(-(d / TOLERANCE)²). Detail that leaves the blurred picture as it is passes.
    """
    radius = side / COARSE
    apart = (masks.feather(new, radius / 2) - masks.feather(first, radius / 2)).abs()
    return torch.exp(-(masks.feather(apart, radius) / TOLERANCE) ** 2)
