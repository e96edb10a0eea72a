"""A matte's uncertain edges worked out again at the photograph's own resolution; what was certain stays, bit for bit.

    network      the same network looks again, at windows of the picture in which it sees more detail
    guided       the guided filter of birefnet.masks: alpha as a linear function of colour, window by window; fast
    closed form  the matting Laplacian: alpha linear in colour in all windows at once; slower, sharper

Uncertain is what the first matte has between `low` and `high`. Every method's answer is laid in with a weight that
rises softly from 0 at those two levels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ... import masks
from .closed_form import closed_form
from .requery import requery
from .windows import blended

__all__ = ["METHODS", "band", "closed_form", "refine", "requery"]

METHODS = ("network", "guided", "closed form")

MARGIN = 0.1  # of alpha, inside the two levels, over which an answer gains its full weight
SHARE = 128   # of the picture's longer side: the radius unless one is given
PRIOR = 4     # weight of the first matte in the closed form, times the radius squared. All three: of a few, the best on
              # lemur, am2k and p3m, with the first mattes of birefnet-nano and with the truth seen through 384 pixels
TILE = 512    # pixels to a side that the closed form solves at a time


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
    """Refine the mask [1,H,W] of a picture [1,H,W,C], C 1, 3 or 4 (straight alpha), all in 0..1: [1,H,W].

    alpha_of: pictures [n,h,w,C] -> alpha [n,h,w], for the method "network"; say `lambda x: birefnet.matte(model, x)`.
    window: side in pixels of the windows it gets. radius: how far in pixels the first matte's edge may be off, for the
    other two methods; 0: a 128th of the longer side.
    progress(done, total): windows, before each group of them and after the last.
    """
    if mask.ndim != 3 or len(mask) != 1 or image.ndim != 4 or image.shape[:3] != mask.shape:
        raise ValueError(f"expected a mask [1,H,W] and its picture [1,H,W,C], got {list(mask.shape)} and "
                         f"{list(image.shape)}: resize the mask to the picture first")
    if method not in METHODS:
        raise ValueError(f"expected one of the methods {', '.join(METHODS)}, got {method!r}")
    weight = band(mask, low, high)
    radius = radius or max(1, round(max(mask.shape) / SHARE))
    if method == "network":
        if alpha_of is None:
            raise ValueError('the method "network" needs the network: give alpha_of')
        answer = requery(alpha_of, mask, image, weight, window, progress)
    elif method == "guided":
        answer = masks.guided_edges(mask, image, radius)
    else:
        def solve(alpha: torch.Tensor, colours: torch.Tensor, unknown: torch.Tensor) -> torch.Tensor:
            return torch.stack([closed_form(*frame, PRIOR / radius**2)
                                for frame in zip(alpha, colours[..., :3], unknown > 0)])

        answer = blended(solve, mask, image, weight, TILE, progress)
    if image.shape[-1] == 4:  # what is transparent already stays so
        answer = torch.minimum(answer, torch.maximum(image[..., 3].to(answer), mask))
    return torch.where(weight > 0, mask + weight * (answer - mask), mask)


def band(mask: torch.Tensor, low: float = 0.05, high: float = 0.95) -> torch.Tensor:
    """How far each pixel of mask [B,H,W] is open to a new answer, 0..1: 0 up to `low` and from `high` on, 1 from
    `MARGIN` inside them, and a smooth step between."""
    if not 0 <= low < high <= 1:
        raise ValueError(f"expected 0 ≤ low < high ≤ 1, got low {low:g} and high {high:g}: lower low or raise high")
    inside = torch.minimum(mask - low, high - mask) / min(MARGIN, (high - low) / 2)
    step = inside.clamp(0, 1)
    return step * step * (3 - 2 * step)
