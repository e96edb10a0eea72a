"""From a mask to a trimap: sure subject, sure background, and the unknown band between them."""

from __future__ import annotations

import torch

from ..files.packages import require
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
    """Dilate region, bool [H,W], by the disc of all pixels whose centre is less than pixels + 1/2 away."""
    if not region.any():
        return region
    distance = require("scipy.ndimage", "a trimap").distance_transform_edt(~region.cpu().numpy())
    return torch.from_numpy(distance < pixels + 0.5).to(region.device)
