"""Foreground colours by blur fusion: Forte, "Approximate Fast Foreground Colour Estimation" (ICIP 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...imaging.resize import convolve

WIDTHS = (90, 6)  # pixels: the paper's r of its two passes, which its code takes for the side of the window
PRIOR = 1e-5  # weight of the prior colour, the paper's; avoids division by 0


def blur_fusion(image: Tensor, alpha: Tensor, widths: tuple[int, int] = WIDTHS) -> Tensor:
    """Estimate foreground colours by blur fusion.

    A pass computes f and b, the means of foreground and background colours over a square of `width` pixels
    (the next odd number) weighted by alpha and by 1 - alpha, and estimates the foreground of the image I as

        F = f + alpha (I - alpha f - (1 - alpha) b).

    The first pass averages the image, the second one the colours that the first estimated. Where no window
    reaches the subject, f is the subject's mean colour.

    Args:
        image: float32 [H,W,3] in 0..1.
        alpha: float32 [H,W] in 0..1, 1 = subject.
        widths: pixels, one window side per pass.

    Returns:
        float32 [H,W,3] in 0..1.

    Raises:
        ValueError: a width is below 1.
    """
    image = image.permute(2, 0, 1)
    front = back = image
    share = alpha.mean()
    prior = (image * alpha).mean((1, 2)) / share if share > 0 else image.mean((1, 2))
    for width in widths:
        if width < 1:
            raise ValueError(f"Set both windows to at least 1 pixel: got {width}")
        front, back = _fuse(image, alpha, front, back, prior, width)
    return torch.where(alpha >= 1, image, front).permute(1, 2, 0)


def _fuse(
    image: Tensor, alpha: Tensor, front: Tensor, back: Tensor, prior: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """One pass: colours [3,H,W] of the previous pass -> foreground colours, and the background's means."""
    around = _box(torch.cat([front * alpha, back * (1 - alpha), alpha[None], 1 - alpha[None]]), width)
    mean_front = (around[:3] + PRIOR * prior[:, None, None]) / (around[6] + PRIOR)
    mean_back = around[3:6] / (around[7] + PRIOR)
    found = mean_front + alpha * (image - alpha * mean_front - (1 - alpha) * mean_back)
    return found.clamp(0, 1), mean_back


def _box(planes: Tensor, width: int) -> Tensor:
    """The mean over the square around each pixel, its side `width` rounded up to an odd number; 0 outside the
    picture."""
    reach = width // 2
    kernel = planes.new_full((2 * reach + 1,), 1 / (2 * reach + 1))
    return convolve(F.pad(planes, (reach, reach, reach, reach)), kernel)
