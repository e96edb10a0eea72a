"""Snap a mask's edge to the photograph's with a guided filter."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..imaging.finite import check_finite
from ..imaging.windows import average_windows
from .common import in_full_precision, over_tiles

# Colour variance below which the photograph counts as flat. Measured best of 1e-2 .. 1e-5 on mattes of fur
# and hair that were reduced four and eight times and enlarged again; colour did better than luminance there.
EPSILON = 1e-4


@in_full_precision
def guided_edges(mask: torch.Tensor, image: torch.Tensor, radius: int, strength: float = 1.0) -> torch.Tensor:
    """Move the edge of a mask to the edge in an image.

    The guided filter of He, Sun and Tang (2010): within each window alpha is fitted by a linear function of
    colour. Written out, as kornia's takes 4 times as long. The filter's result is blended in by 4 m (1 - m),
    where m is the window's mean alpha, so that areas far from any edge are unchanged.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        image: float [B or 1,H,W,C] in 0..1, C 1, 3 or 4 (a fourth channel is ignored).
        radius: pixels from a window's centre to its sides, about as many as the mask's edge is blurred or
            off; 0 changes nothing.
        strength: 0..1, the share of the filter's result.

    Returns:
        The mask of the same shape and dtype.

    Raises:
        ValueError: the mask is not float [B,H,W], or the image has another size.
        UserError: a value of the mask or the guide is not finite.
    """
    frames, height, width = mask.shape
    if image.ndim != 4 or image.shape[1:3] != (height, width) or len(image) not in (1, frames):
        raise ValueError(f"Resize the mask to the image first: expected a guide [{frames} or 1, {height}, "
                         f"{width}, C] for a mask {list(mask.shape)}, got {list(image.shape)}")
    if radius <= 0 or strength <= 0:
        return mask
    guide = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
    check_finite(mask, "mask")
    check_finite(guide, "guide")

    def snap(alpha: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
        colours = colours.movedim(-1, 0)
        filtered, mean = _guided_filter(alpha, colours, radius)
        alpha = alpha[2 * radius : -2 * radius, 2 * radius : -2 * radius]
        return alpha + (strength * 4 * mean * (1 - mean)).clamp(0, 1) * (filtered - alpha)

    return over_tiles(snap, 2 * radius, mask, guide.to(mask.device)).clamp(0, 1)


def _guided_filter(
    alpha: torch.Tensor, colours: torch.Tensor, radius: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Filter alpha [h + 4r,w + 4r] by colours [C,h + 4r,w + 4r] -> filtered and mean alpha, both [h,w]."""
    colours = colours - colours.mean((1, 2), keepdim=True)  # else rounding distorts the variances
    *slope, offset, mean = fit_windows(alpha, colours, radius)
    inside = slice(2 * radius, -2 * radius)
    filtered = (torch.stack(slope) * colours[:, inside, inside]).sum(0) + offset
    return filtered.clamp(0, 1), mean


def fit_windows(
    alpha: torch.Tensor,
    colours: torch.Tensor,
    radius: int,
    box: Callable[[torch.Tensor, int], torch.Tensor] = average_windows,
) -> torch.Tensor:
    """Fit the guided filter's linear models: alpha is about slope · colour + offset in every window, and a
    pixel gets the mean of the models of all windows that hold it (He, Sun and Tang 2010, equations 14 to 16).

    Args:
        alpha: float [...,h + 4r,w + 4r] in 0..1.
        colours: float [C,...,h + 4r,w + 4r], C 1 or 3, with a mean of about 0, so that variances are exact.
        radius: r, pixels from a window's centre to its sides.
        box: another way to compute what `average_windows` does.

    Returns:
        float [C + 2,...,h,w]: slope per colour, offset, mean alpha of the window around each pixel.
    """
    mean = box(alpha, radius)
    mean_colours = box(colours, radius)
    shared = list(box(colours * alpha, radius) - mean_colours * mean)
    matrix = [list(box(colours * colour, radius) - mean_colours * at)
              for colour, at in zip(colours, mean_colours)]
    for i, row in enumerate(matrix):
        row[i] = row[i] + EPSILON
    slope = torch.stack(_solve(matrix, shared))
    offset = mean - (slope * mean_colours).sum(0)
    inside = slice(radius, -radius)
    return torch.cat([box(slope, radius), box(offset, radius)[None], mean[None, ..., inside, inside]])


def _solve(matrix: list[list[torch.Tensor]], right: list[torch.Tensor]) -> list[torch.Tensor]:
    """Solve a symmetric positive definite system of 1 or 3 unknowns per pixel by elimination; overwrites its
    arguments."""
    size = len(right)
    for k in range(size):
        for i in range(k + 1, size):
            factor = matrix[i][k] / matrix[k][k]
            for j in range(k, size):
                matrix[i][j] = matrix[i][j] - factor * matrix[k][j]
            right[i] = right[i] - factor * right[k]
    for k in reversed(range(size)):
        for j in range(k + 1, size):
            right[k] = right[k] - matrix[k][j] * right[j]
        right[k] = right[k] / matrix[k][k]
    return right
