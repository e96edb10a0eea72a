"""Bring the alpha of a small network to the picture's size, with the edges of the picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..imaging.resize import over_grey, resample
from ..masks.guided import fit_windows

# Both were the best of a few values on ecssd, alphamatting, am2k and p3m with birefnet-nano, whose errors
# they lower by a tenth to a third (weights/NANO.md).
RADIUS = 10          # of the guided filter's windows, pixels of the network
LEVEL = 0.1          # alpha below it becomes 0, above 1 minus it 1: a small network's haze
STRIP_PIXELS = 1 << 17  # computed at a time, which stay in a core's cache


@torch.inference_mode()
def upsample_guided(small: Tensor, frame: Tensor) -> Tensor:
    """Joint upsampling with the fast guided filter (He and Sun 2015).

    Where alpha changes, it is a linear function of colour in each window of the network's own grid; these
    functions are enlarged instead of alpha, and read the picture at its full size. As in
    `masks.guided_edges`, the result is blended in by 4 m (1 - m), with the windows' mean alpha m.

    Args:
        small: float32 [1,h,w] in 0..1, the network's alpha.
        frame: float [H,W,C] in 0..1, C 1, 3 or 4 (laid over grey, as the network saw it).

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
    """float32 [5,h,W]: slopes, offset and mean alpha of the windows, at the network's rows and the picture's
    columns."""
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
    """For each of `height` rows, the two of `rows` between which it lies, and how far from the first:
    bilinear interpolation with pixels' centres at half units."""
    place = ((torch.arange(height, device=device) + 0.5) * (rows / height) - 0.5).clamp(0, rows - 1)
    below = place.long()
    return below, (below + 1).clamp(max=rows - 1), (place - below)[:, None]
