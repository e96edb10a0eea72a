"""LayerNorm in float32, with results in the dtype of the next product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def first_stage_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of products in an encoder's first stage: float32 instead of bfloat16.

    All later stages depend on the first one, and float32 costs little there. With bfloat16 the error of one
    of the tests' mattes, that of a portrait, was more than twice as large.
    """
    return torch.float32 if dtype == torch.bfloat16 else dtype


def layer_norm(x: Tensor, norm: nn.LayerNorm, dtype: torch.dtype) -> Tensor:
    """Apply LayerNorm to float32 [...,C] in float32; the result is in `dtype`."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps).to(dtype)


def layer_norm_map(x: Tensor, norm: nn.LayerNorm, dtype: torch.dtype, scratch: int) -> Tensor:
    """Apply `layer_norm` to a map [B,H,W,C], with temporaries of `scratch` bytes."""
    if dtype == x.dtype:
        return layer_norm(x, norm, dtype)
    y = torch.empty_like(x, dtype=dtype)
    step = max(1, scratch // (8 * x[:, 0].numel()))
    for start in range(0, x.shape[1], step):
        rows = slice(start, start + step)
        y[:, rows] = layer_norm(x[:, rows], norm, dtype)
    return y
