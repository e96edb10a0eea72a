"""Compute a matte's uncertain edges again at the photograph's own resolution.

Certain pixels are unchanged, bit for bit.

    network      the same network again, at windows of the picture in which it sees more detail
    guided       the guided filter of birefnet.masks: alpha linear in colour, window by window; fast
    closed form  the matting Laplacian: alpha linear in colour in all windows at once; slower, sharper

Uncertain pixels are those whose alpha in the first matte is between `low` and `high`. Each method's result is
blended in with a weight that rises smoothly from 0 at those two levels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ... import masks
from ...imaging.finite import check_finite
from .closed_form import refine_closed_form
from .requery import ask_network
from .windows import blend_windows

__all__ = ["METHODS", "band", "refine_closed_form", "refine"]

METHODS = ("network", "guided", "closed form")

LEVEL_MARGIN = 0.1  # of alpha, inside the two levels, over which the weight rises from 0 to 1
RADIUS_SHARE = 128  # the default radius is the picture's longer side divided by this
PRIOR_WEIGHT = 4    # weight of the first matte in the closed form, times the radius squared
# The three above were the best of a few values on lemur, am2k and p3m, with first mattes of birefnet-nano and
# with the true mattes reduced to 384 pixels.
SOLVE_SIDE = 512    # pixels: side of the windows that the closed form solves


def refine(
    mask: torch.Tensor,
    image: torch.Tensor,
    alpha_of: Callable[[torch.Tensor], torch.Tensor] | None = None,
    *,
    method: str = "closed form",
    low: float = 0.05,
    high: float = 0.95,
    window: int = 1024,
    radius: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Refine the uncertain edges of a matte.

    Args:
        mask: float [1,H,W] in 0..1, 1 = subject.
        image: float [1,H,W,C] in 0..1, C 1, 3 or 4 (straight alpha).
        alpha_of: pictures [n,h,w,C] -> alpha [n,h,w], for the method "network"; say `lambda x:
            birefnet.matte(model, x)`.
        method: one of METHODS.
        low, high: the levels between which alpha is uncertain, 0 ≤ low < high ≤ 1.
        window: side in pixels of the windows that the network sees.
        radius: how far in pixels the first matte's edge may be off, for the other two methods; 0 for a 128th
            of the longer side.
        progress: progress(done, total) is called with numbers of windows, before each group of them and after
            the last.

    Returns:
        float [1,H,W] in 0..1.

    Raises:
        ValueError: shapes, method or levels are wrong, or the method "network" lacks alpha_of.
        UserError: a value of the mask or the image is not finite.
        PackageError: kornia is missing, for the method "network".
    """
    if mask.ndim != 3 or len(mask) != 1 or image.ndim != 4 or image.shape[:3] != mask.shape:
        raise ValueError("Resize the mask to the picture first: expected a mask [1,H,W] and its picture "
                         f"[1,H,W,C], got {list(mask.shape)} and {list(image.shape)}")
    if method not in METHODS:
        raise ValueError(f"Choose a method of {', '.join(METHODS)}: it is {method!r}")
    check_finite(mask, "mask")
    check_finite(image, "guide")
    weight = band(mask, low, high)
    radius = radius or max(1, round(max(mask.shape) / RADIUS_SHARE))
    if method == "network":
        if alpha_of is None:
            raise ValueError('Give alpha_of: the method "network" needs the network')
        answer = blend_windows(ask_network(alpha_of, window), mask, image, weight, window, progress)
    elif method == "guided":
        answer = masks.guided_edges(mask, image, radius)
    else:
        def solve(alpha: torch.Tensor, colours: torch.Tensor, unknown: torch.Tensor) -> torch.Tensor:
            return torch.stack([refine_closed_form(*frame, PRIOR_WEIGHT / radius**2)
                                for frame in zip(alpha, colours[..., :3], unknown > 0)])

        answer = blend_windows(solve, mask, image, weight, SOLVE_SIDE, progress)
    if image.shape[-1] == 4:  # what is transparent already stays so
        answer = torch.minimum(answer, torch.maximum(image[..., 3].to(answer), mask))
    return torch.where(weight > 0, mask + weight * (answer - mask), mask)


def band(mask: torch.Tensor, low: float = 0.05, high: float = 0.95) -> torch.Tensor:
    """The weight of a new alpha at each pixel of a mask.

    Args:
        mask: float [B,H,W] in 0..1.
        low, high: levels, 0 ≤ low < high ≤ 1.

    Returns:
        float [B,H,W] in 0..1: 0 up to `low` and from `high` on, 1 from `LEVEL_MARGIN` inside them, a smooth
        step between.

    Raises:
        ValueError: the levels are wrong.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(f"Lower low or raise high: expected 0 ≤ low < high ≤ 1, got low {low:g} and high "
                         f"{high:g}")
    inside = torch.minimum(mask - low, high - mask) / min(LEVEL_MARGIN, (high - low) / 2)
    step = inside.clamp(0, 1)
    return step * step * (3 - 2 * step)
