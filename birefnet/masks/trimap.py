"""From a mask to a trimap: sure subject, sure background, and the unknown band between them."""

from __future__ import annotations

import math

import torch

from .common import in_full_precision

UNKNOWN = 0.5


@in_full_precision
def trimap(
    mask: torch.Tensor, inward: float, outward: float, background: float = 0.05, foreground: float = 0.95
) -> torch.Tensor:
    """Trimap [B,H,W] of mask [B,H,W]: 1 sure subject, 0 sure background, 1/2 unknown.

    What lies between the values `background` and `foreground` is unknown, and so is everything within `inward` pixels
    of it on the subject's side and within `outward` pixels on the background's: around a hard edge the band is
    inward + outward wide. Distances are Euclidean, exact, and measured as `grow` does, up to pixels + 1/2 from centre to
    centre. The picture's frame is no edge.
    """
    if not background < foreground:
        raise ValueError(
            f"the background's threshold must lie below the subject's, got background {background:g} and subject "
            f"{foreground:g}: lower the first or raise the second"
        )
    if inward < 0 or outward < 0:
        raise ValueError(f"expected widths of 0 pixels or more, got {inward:g} inward and {outward:g} outward")
    result = torch.full_like(mask, UNKNOWN)
    for frame, alpha in zip(result, mask):
        frame[~widen(alpha > background, outward)] = 0
        frame[~widen(alpha < foreground, inward)] = 1
    return result


def widen(region: torch.Tensor, pixels: float) -> torch.Tensor:
    """Dilate region, bool [H,W], by the disc of all pixels whose centre is less than pixels + 1/2 away.

    In time that does not grow with `pixels`: each pixel finds the nearest set pixel of its column, and from there the
    disc reaches a known number of pixels to either side along the row; these strokes are laid by a running sum.
    """
    height, width = region.shape
    reach = min(math.ceil(pixels + 0.5) - 1, height + width)
    if reach <= 0:
        return region
    rows = torch.arange(height, device=region.device)[:, None]
    far = 2 * (height + reach)
    above = torch.where(region, rows, -far).cummax(0).values
    below = torch.where(region, rows, far).flip(0).cummin(0).values.flip(0)
    away = torch.minimum(rows - above, below - rows).clamp_(max=reach + 1)
    # How far the disc reaches along the row at each distance from its middle; nowhere beyond its rim.
    halves = [math.isqrt(math.ceil((pixels + 0.5) ** 2 - y**2) - 1) for y in range(reach + 1)]
    half = torch.tensor([*halves, -1], device=region.device)[away]
    columns = torch.arange(width, device=region.device)
    stroke = (half >= 0).to(torch.int32)
    strokes = stroke.new_zeros(height, width + 1)
    strokes.scatter_add_(1, (columns - half).clamp_(0, width), stroke)
    strokes.scatter_add_(1, (columns + half + 1).clamp_(0, width), -stroke)
    return strokes[:, :width].cumsum(1) > 0
