"""Bilinear resizing, antialiased where it shrinks, out of matrix products: the same numbers in every runtime
and opset."""

from __future__ import annotations

import torch
from torch import Tensor


def resample(x: Tensor, size: torch.Size | tuple[int | Tensor, int | Tensor]) -> Tensor:
    """What birefnet.imaging.resize.resample computes: [B,C,h,w] → [B,C,H,W]. Rows and columns may be traced
    numbers."""
    rows = shares(x.shape[2], size[0], x.dtype)
    columns = shares(x.shape[3], size[1], x.dtype)
    return rows @ x @ columns.T


def shares(length: int | Tensor, new_length: int | Tensor, dtype: torch.dtype) -> Tensor:
    """[new_length,length]: how much each new pixel takes of each old one, a triangle as wide as the wider of
    the two."""
    step = torch.as_tensor(length).to(dtype) / torch.as_tensor(new_length).to(dtype)
    centre = (torch.arange(new_length).to(dtype) + 0.5) * step
    distance = (torch.arange(length).to(dtype) + 0.5) - centre[:, None]
    share = (1 - distance.abs() / step.clamp(min=1)).relu()
    return share / share.sum(1, keepdim=True)
