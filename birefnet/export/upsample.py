"""Joint upsampling with the guided filter, as in matting.upsample, for tracing: a batch, without strips."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks.guided import fit_windows
from ..matting.upsample import LEVEL, RADIUS
from .resize import resample


def upsample_guided(small: Tensor, seen: Tensor, image: Tensor) -> Tensor:
    """Upsample alpha to the image's size along the image's edges.

    Args:
        small: [B,1,h,w] in 0..1, the network's alpha.
        seen: [B,3,h,w], the image as the network saw it, before normalisation.
        image: [B,3,H,W] in 0..1. H and W may be traced.

    Returns:
        [B,1,H,W] in 0..1.
    """
    centre = seen.mean((2, 3), keepdim=True)
    padded = F.pad(torch.cat([small, seen - centre], 1), (2 * RADIUS,) * 4, "replicate").transpose(0, 1)
    models = fit_windows(padded[0], padded[1:], RADIUS, box_mean).transpose(0, 1)
    offset = models[:, 3:4] - (models[:, :3] * centre).sum(1, keepdim=True)
    models = torch.cat([models[:, :3], offset, models[:, 4:]], 1)
    rows = interpolation_weights(small.shape[2], image.shape[2], image.dtype)
    columns = interpolation_weights(small.shape[3], image.shape[3], image.dtype)
    models = rows @ models @ columns.T
    guided = ((models[:, :3] * image).sum(1, keepdim=True) + models[:, 3:4]).clamp(0, 1)
    mean = models[:, 4:]
    alpha = resample(small, image.shape[2:])
    alpha = alpha + 4 * mean * (1 - mean) * (guided - alpha)
    return ((alpha - LEVEL) / (1 - 2 * LEVEL)).clamp(0, 1)


def box_mean(image: Tensor, radius: int) -> Tensor:
    """The mean of each window of side 2r + 1 that lies completely inside [...,H,W]: [...,H-2r,W-2r]. Not by
    running sums, which need more precision than float32."""
    side = 2 * radius + 1
    along = F.avg_pool2d(image if image.ndim == 4 else image[None], (1, side), 1)
    mean = F.avg_pool2d(along, (side, 1), 1)
    return mean if image.ndim == 4 else mean[0]


def interpolation_weights(length: int, new_length: int | Tensor, dtype: torch.dtype) -> Tensor:
    """Weights [new_length,length] of the old pixels in each new one: linear interpolation without
    antialiasing, with pixel centres at half units."""
    step = length / torch.as_tensor(new_length).to(dtype)
    place = ((torch.arange(new_length).to(dtype) + 0.5) * step - 0.5).clamp(0, length - 1)
    return (1 - (torch.arange(length).to(dtype) - place[:, None]).abs()).relu()
