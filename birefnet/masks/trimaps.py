"""From a mask to a trimap: sure subject, sure background, and the unknown band between them."""

from __future__ import annotations

import torch

from ..files.packages import require
from .common import in_full_precision

UNKNOWN = 0.5  # a trimap's value in the unknown band


@in_full_precision
def trimap(
    mask: torch.Tensor, inward: float, outward: float, background: float = 0.05, foreground: float = 0.95
) -> torch.Tensor:
    """Make a trimap.

    Values between `background` and `foreground` are unknown, and so is everything within `inward` pixels of
    those on the subject's side and within `outward` pixels on the background's: around a hard edge the band
    is inward + outward wide. Distances are Euclidean and exact, counted as in `grow` up to pixels + 1/2
    between centres. The picture's border is no edge.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        inward, outward: pixels, 0 or more.
        background, foreground: values in 0..1, background < foreground.

    Returns:
        [B,H,W] of the mask's dtype: 1 sure subject, 0 sure background, 1/2 unknown.

    Raises:
        ValueError: the mask is not float [B,H,W], or another argument is out of range.
        PackageError: SciPy is missing.
    """
    if not background < foreground:
        raise ValueError("Lower the background's threshold or raise the subject's: got background "
                         f"{background:g} and subject {foreground:g}")
    if inward < 0 or outward < 0:
        raise ValueError(f"Set both widths to 0 pixels or more: got {inward:g} inward and {outward:g} "
                         "outward")
    result = torch.full_like(mask, UNKNOWN)
    for frame, alpha in zip(result, mask):
        frame[~dilate(alpha > background, outward)] = 0
        frame[~dilate(alpha < foreground, inward)] = 1
    return result


def dilate(region: torch.Tensor, pixels: float) -> torch.Tensor:
    """Dilate a region, bool [H,W], by the disc of all pixels whose centre is less than pixels + 1/2 away.

    Raises:
        PackageError: SciPy is missing.
    """
    if not region.any():
        return region
    distance = require("scipy.ndimage", "a trimap").distance_transform_edt(~region.cpu().numpy())
    return torch.from_numpy(distance < pixels + 0.5).to(region.device)
