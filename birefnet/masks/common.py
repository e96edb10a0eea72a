"""Shared by the mask operators: the check of the input, computing in full precision, tiles."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

TILE_SIDE = 512  # pixels: a float32 tile is 1 MB and stays in a core's cache


def in_full_precision(operator: Callable) -> Callable:
    """Decorate an operator: it checks that its mask is float [B,H,W], computes in float32 or wider, and
    returns the mask's dtype."""

    @functools.wraps(operator)
    def run(mask: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        if mask.ndim != 3 or not mask.is_floating_point():
            raise ValueError(f"Convert the mask to floats in 0..1, [B,H,W]: it is {list(mask.shape)} of "
                             f"{str(mask.dtype).removeprefix('torch.')}")
        wide = mask.to(torch.promote_types(mask.dtype, torch.float32))
        return operator(wide, *args, **kwargs).to(mask.dtype)

    return run


def over_tiles(
    operator: Callable[..., torch.Tensor], reach: int, mask: torch.Tensor, guide: torch.Tensor | None = None
) -> torch.Tensor:
    """Run a neighbourhood operator over a mask tile by tile, so that memory does not grow with the picture.

    Args:
        operator: takes a window of the mask [h + 2 reach, w + 2 reach], and with a guide the same window of
            the guide [...,C], and returns [h,w]. It must not change flat areas: windows in which the mask has
            a single value are skipped.
        reach: pixels beyond the result, on every side, that the operator reads; outside the picture its
            border pixels are repeated.
        mask: float [B,H,W].
        guide: float [B or 1,H,W,C].

    Returns:
        float [B,H,W].
    """
    frames, height, width = mask.shape
    side = max(TILE_SIDE, 4 * reach)  # keeps the overlap of neighbouring windows a small part of the work
    result = mask.clone()
    for frame in range(frames):
        for top in range(0, height, side):
            for left in range(0, width, side):
                rows = _window(top, min(top + side, height), reach, height, mask.device)
                columns = _window(left, min(left + side, width), reach, width, mask.device)
                window = mask[frame, rows][:, columns]
                low, high = window.aminmax()
                if low == high:
                    continue
                extra = () if guide is None else (guide[frame % len(guide), rows][:, columns].to(mask.dtype),)
                result[frame, top : top + side, left : left + side] = operator(window, *extra)
    return result


def _window(start: int, stop: int, reach: int, length: int, device: torch.device) -> torch.Tensor:
    """Return indices start - reach .. stop + reach - 1; outside 0..length - 1 the nearest inside."""
    return torch.arange(start - reach, stop + reach, device=device).clamp(0, length - 1)
