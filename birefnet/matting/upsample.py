"""Upsample a small network's alpha to the picture's size, along the picture's edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..imaging.resize import over_grey, resample
from ..masks.guided import fit_windows

# RADIUS and LEVEL were the best of a few values on ecssd, alphamatting, am2k and p3m; they lower the errors
# of birefnet-nano by a tenth to a third (weights/NANO.md).
RADIUS = 10  # of the guided filter's windows, in pixels of the network
LEVEL = 0.1  # LEVEL..1 - LEVEL is stretched to 0..1, which removes a small network's haze
STRIP_PIXELS = 1 << 17  # of the picture, computed at a time: they fit into a core's cache


@torch.inference_mode()
def upsample_guided(small: Tensor, frame: Tensor) -> Tensor:
    """Joint upsampling with the fast guided filter (He and Sun 2015).

    Alpha is fitted as a linear function of colour in each window of the network's grid. The coefficients are
    enlarged instead of alpha, and applied to the picture at its full size. As in `masks.guided_edges`, the
    result is blended with the bilinearly enlarged alpha by the weight 4 m (1 - m), where m is the windows'
    mean alpha.

    Args:
        small: float32 [1,h,w] in 0..1, the network's alpha.
        frame: float [H,W,C] in 0..1, C 1, 3 or 4 (composited over grey, as for the network).

    Returns:
        float32 [1,H,W] in 0..1.
    """
    height, width, _ = frame.shape
    alpha = resample(small[None], (height, width))[0]
    if alpha.shape == small.shape:
        alpha = alpha.clone()
    rows_at_once = max(1, STRIP_PIXELS // width)
    models = _models(small, frame, rows_at_once)
    below, above, share = _between_rows(small.shape[1], height, frame.device)
    for top in range(0, height, rows_at_once):
        rows = slice(top, top + rows_at_once)
        *slope, offset, mean = torch.lerp(models[:, below[rows]], models[:, above[rows]], share[rows])
        colours = over_grey(frame[rows])
        for channel, factor in enumerate(slope):
            offset.addcmul_(factor, colours[..., channel])
        weight = mean.mul_(4).mul_(1 - mean / 4)
        alpha[0, rows].lerp_(offset.clamp_(0, 1), weight)
    return alpha.sub_(LEVEL).div_(1 - 2 * LEVEL).clamp_(0, 1)


def _models(small: Tensor, frame: Tensor, rows_at_once: int) -> Tensor:
    """Fit the windows: slopes (3), offset and mean alpha, float32 [5,h,W], at the network's rows and the
    picture's columns."""
    height, width = small.shape[1:]
    strips = [resample(over_grey(strip).permute(2, 0, 1)[None], (strip.shape[0], width))
              for strip in frame.split(rows_at_once)]
    colours = resample(torch.cat(strips, 2), (height, width))[0]
    centre = colours.mean((1, 2))
    around = (2 * RADIUS,) * 4
    padded = F.pad(torch.cat([small, colours - centre[:, None, None]])[None], around, "replicate")[0]
    models = fit_windows(padded[0], padded[1:], RADIUS)
    models[3] -= torch.einsum("chw,c->hw", models[:3], centre)
    return F.interpolate(models[None], (height, frame.shape[1]), mode="bilinear")[0]


def _between_rows(rows: int, height: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `height` rows, the indices of the two of `rows` that it lies between, [height] each, and
    the second one's weight [height,1]; pixel centres are at half units."""
    place = ((torch.arange(height, device=device) + 0.5) * (rows / height) - 0.5).clamp(0, rows - 1)
    below = place.long()
    return below, (below + 1).clamp(max=rows - 1), (place - below)[:, None]
