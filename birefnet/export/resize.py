"""Resize bilinearly with antialiasing by matrix products, whose result is the same in every runtime and
opset."""

from __future__ import annotations

import torch
from torch import Tensor


def resample(x: Tensor, size: torch.Size | tuple[int | Tensor, int | Tensor]) -> Tensor:
    """birefnet.imaging.resize.resample for tracing: [B,C,h,w] → [B,C,H,W]; h, w, H and W may be tensors."""
    rows = resize_weights(x.shape[2], size[0], x.dtype)
    columns = resize_weights(x.shape[3], size[1], x.dtype)
    return rows @ x @ columns.T


def resize_weights(length: int | Tensor, new_length: int | Tensor, dtype: torch.dtype) -> Tensor:
    """Weights [new_length,length] of the old pixels in each new one: a triangle with the half-width of one
    old or one new pixel, whichever is larger."""
    step = torch.as_tensor(length).to(dtype) / torch.as_tensor(new_length).to(dtype)
    centre = (torch.arange(new_length).to(dtype) + 0.5) * step
    distance = (torch.arange(length).to(dtype) + 0.5) - centre[:, None]
    share = (1 - distance.abs() / step.clamp(min=1)).relu()
    return share / share.sum(1, keepdim=True)
