"""PVT v2's inference form: attention for runs of queries, the MLP in bands of rows, to limit memory.

The residual stream and LayerNorm are float32 in every dtype.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops.bands import compute_by_bands, lazy_convolution
from ...ops.normalize import first_stage_dtype, layer_norm, layer_norm_map
from ...ops.products import convolve, gelu_, linear
from .plain import Block, ConvMlp, PyramidVisionTransformer, SpatialReductionAttention


class FusedPVT(nn.Module):
    """The inference form of PyramidVisionTransformer."""

    def __init__(self, plain: PyramidVisionTransformer) -> None:
        super().__init__()
        for name, module in plain.named_children():
            if name.startswith("block"):
                module = nn.ModuleList(FusedBlock(block) for block in module)
            self.add_module(name, module)

    def forward(self, image: Tensor, scratch: int = sys.maxsize) -> list[Tensor]:
        """Return x1..x4, [B,C,H,W], channels-last, in the weights' dtype. image: preferably float32."""
        x, features, dtype = image, [], self.norm1.weight.dtype
        for i in range(1, 5):
            embed = getattr(self, f"patch_embed{i}")
            x = convolve(embed.proj, image.float() if i == 1 else x).float()
            x = layer_norm(x.permute(0, 2, 3, 1), embed.norm, torch.float32)
            for block in getattr(self, f"block{i}"):
                x = block(x, first_stage_dtype(dtype) if i == 1 else dtype, scratch)
            x = layer_norm_map(x, getattr(self, f"norm{i}"), dtype, scratch).permute(0, 3, 1, 2)
            features.append(x)
        return features


class FusedBlock(nn.Module):
    """The inference form of Block."""

    def __init__(self, plain: Block) -> None:
        super().__init__()
        self.norm1, self.attn = plain.norm1, FusedAttention(plain.attn)
        self.norm2, self.mlp = plain.norm2, FusedMlp(plain.mlp)

    def forward(self, x: Tensor, dtype: torch.dtype, scratch: int) -> Tensor:
        """float32 [B,H,W,C] → the same shape; overwrites x. Products are in `dtype`."""
        self.attn(x, self.norm1, dtype, scratch)
        return self.mlp(x, self.norm2, dtype, scratch)


class FusedAttention(nn.Module):
    """The inference form of SpatialReductionAttention, with the LayerNorm before it."""

    def __init__(self, plain: SpatialReductionAttention) -> None:
        super().__init__()
        self.heads = plain.heads
        self.q, self.kv, self.proj, self.sr, self.norm = plain.q, plain.kv, plain.proj, plain.sr, plain.norm

    def forward(self, x: Tensor, norm: nn.LayerNorm, dtype: torch.dtype, scratch: int) -> None:
        """x += attention(norm(x)) for float32 [B,H,W,C], in runs of queries."""
        batch, height, width, channels = x.shape
        keys = normed = layer_norm_map(x, norm, dtype, scratch)
        if self.sr is not None:
            keys = convolve(self.sr, normed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            keys = layer_norm(keys.float(), self.norm, dtype)
        k, v = (linear(self.kv, keys.flatten(0, 2))
                .view(batch, -1, 2, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4).unbind(0))
        step = max(1, scratch // (batch * width * channels * 8 * dtype.itemsize))
        for start in range(0, height, step):
            rows = slice(start, start + step)
            q = linear(self.q, normed[:, rows].flatten(0, 2))
            q = q.view(batch, -1, self.heads, channels // self.heads).transpose(1, 2)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, channels)
            x[:, rows] += linear(self.proj, y).view(batch, -1, width, channels)


class FusedMlp(nn.Module):
    """The inference form of ConvMlp, with the LayerNorm before it."""

    def __init__(self, plain: ConvMlp) -> None:
        super().__init__()
        self.fc1, self.dwconv, self.fc2 = plain.fc1, plain.dwconv, plain.fc2

    def forward(self, x: Tensor, norm: nn.LayerNorm, dtype: torch.dtype, scratch: int) -> Tensor:
        """Return x + mlp(norm(x)) for float32 [B,H,W,C]."""
        batch, height, width, channels = x.shape
        hidden = len(self.fc1.weight)

        def widen(start: int, stop: int) -> Tensor:
            y = layer_norm(x[:, start:stop], norm, dtype).flatten(0, 2)
            y = linear(self.fc1, y).view(batch, stop - start, width, hidden)
            return y.permute(0, 3, 1, 2)

        filtered = lazy_convolution(self.dwconv.dwconv, widen, height)

        def update(start: int, stop: int) -> Tensor:
            y = gelu_(filtered(start, stop)).permute(0, 2, 3, 1).flatten(0, 2)
            y = linear(self.fc2, y).view(batch, stop - start, width, channels)
            return (x[:, start:stop] + y).permute(0, 3, 1, 2)

        row_bytes = batch * width * (2 * hidden * dtype.itemsize + 12 * channels)
        return compute_by_bands(update, height, row_bytes, scratch).permute(0, 2, 3, 1)
