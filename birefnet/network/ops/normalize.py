"""LayerNorm of float32 maps, and the dtype that the next product computes in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def early_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of products in a backbone's first stage. Everything later depends on it, and it costs little: with it rounded to
    bfloat16's eight bits, the matte of one portrait in the tests was off by more than twice as much."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


def normalized(x: Tensor, norm: nn.LayerNorm, dtype: torch.dtype) -> Tensor:
    """LayerNorm of float32 [...,C], computed in float32."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps).to(dtype)


def normalized_map(x: Tensor, norm: nn.LayerNorm, dtype: torch.dtype, scratch: int) -> Tensor:
    """The same for a map [B,H,W,C], with temporaries of `scratch` bytes."""
    if dtype == x.dtype:
        return normalized(x, norm, dtype)
    y = torch.empty_like(x, dtype=dtype)
    step = max(1, scratch // (8 * x[:, 0].numel()))
    for start in range(0, x.shape[1], step):
        rows = slice(start, start + step)
        y[:, rows] = normalized(x[:, rows], norm, dtype)
    return y
