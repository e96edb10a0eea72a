"""What every mask operator shares: the checks, full precision, tiles, and convolution."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

TILE = 512  # a float32 tile of this side is 1 MB: it stays in a core's cache, and a frame is many tiles


def in_full_precision(operator: Callable) -> Callable:
    """Check that the mask is float [B,H,W], run `operator` on it in float32 or wider, give back the mask's dtype."""

    @functools.wraps(operator)
    def run(mask: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        if mask.ndim != 3 or not mask.is_floating_point():
            raise ValueError(
                f"expected a float mask [B,H,W] in 0..1, got {str(mask.dtype).removeprefix('torch.')} "
                f"{list(mask.shape)}: convert it before refining it"
            )
        wide = mask.to(torch.promote_types(mask.dtype, torch.float32))
        return operator(wide, *args, **kwargs).to(mask.dtype)

    return run


def over_tiles(
    operator: Callable[..., torch.Tensor], reach: int, mask: torch.Tensor, guide: torch.Tensor | None = None
) -> torch.Tensor:
    """Run a neighbourhood operator over mask [B,H,W] tile by tile, so that memory does not grow with the picture.

    `operator` gets a tile with `reach` more pixels on every side ([h + 2 reach, w + 2 reach]) and returns [h, w];
    with a guide [B or 1,H,W,C] it also gets the same window of it. Outside the picture lies a copy of its edge.
    A window in which the mask is one value is left as it is: every operator here keeps flat areas.
    """
    frames, height, width = mask.shape
    side = max(TILE, 4 * reach)  # keeps the overlap of neighbouring windows a small part of the work
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
    return torch.arange(start - reach, stop + reach, device=device).clamp(0, length - 1)


