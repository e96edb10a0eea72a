"""Generates a test video of 854×480 pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

HEIGHT, WIDTH = 480, 854


def frame(number: int) -> Tensor:
    """Return frame `number`, float32 [1,480,854,3] in 0..1: a disc that circles over blobs of colour."""
    dice = torch.Generator().manual_seed(0)
    blobs = interpolate(torch.rand(1, 3, 6, 10, generator=dice), (HEIGHT, WIDTH), mode="bilinear")
    turn = torch.tensor(number / 30)
    y, x = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)
    inside = (y - HEIGHT / 2 - 120 * turn.sin()) ** 2 + (x - WIDTH / 2 - 200 * turn.cos()) ** 2 < 90**2
    return torch.where(inside, 1 - blobs, blobs).permute(0, 2, 3, 1).contiguous()
