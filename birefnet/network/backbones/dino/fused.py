"""DINOv3's inference form: attention and MLP are computed for runs of tokens, to limit memory.

The residual stream and LayerNorm are float32 in every dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops.normalize import layer_norm
from ...ops.products import convolve, gelu_, linear, product
from .plain import PREFIX, Block, GatedMlp, Trunk, VisionTransformer, rotary_tables, rotate


class FusedVisionTransformer(nn.Module):
    """The inference form of VisionTransformer."""

    def __init__(self, plain: VisionTransformer) -> None:
        super().__init__()
        self.model = FusedTrunk(plain.model)

    def forward(self, image: Tensor, scratch: int = sys.maxsize) -> list[Tensor]:
        """Return four maps [B,C,H/16,W/16], channels-last, in the weights' dtype. image: best float32."""
        return self.model(image, scratch)


class FusedTrunk(nn.Module):
    """The inference form of Trunk."""

    def __init__(self, plain: Trunk) -> None:
        super().__init__()
        self.taps, self.head_width = plain.taps, plain.head_width
        self.cls_token, self.reg_token, self.patch_embed = plain.cls_token, plain.reg_token, plain.patch_embed
        self.blocks = nn.ModuleList(FusedBlock(block) for block in plain.blocks)

    def forward(self, image: Tensor, scratch: int) -> list[Tensor]:
        x = convolve(self.patch_embed.proj, image.float())
        batch, width, *size = x.shape
        tables = rotary_tables(*size, self.head_width, x.device)
        prefix = torch.cat([self.cls_token, self.reg_token], 1).float().expand(batch, -1, -1)
        x = torch.cat([prefix, x.flatten(2).transpose(1, 2)], 1)
        features, dtype = [], self.cls_token.dtype
        for i, block in enumerate(self.blocks):
            block(x, tables, dtype, scratch)
            if i in self.taps:
                patches = x[:, PREFIX:].to(dtype, copy=True)
                features.append(patches.view(batch, *size, width).permute(0, 3, 1, 2))
        return features


class FusedBlock(nn.Module):
    """The inference form of Block, in place."""

    def __init__(self, plain: Block) -> None:
        super().__init__()
        self.norm1, self.attn, self.gamma_1 = plain.norm1, plain.attn, plain.gamma_1
        self.norm2, self.mlp, self.gamma_2 = plain.norm2, plain.mlp, plain.gamma_2

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor], dtype: torch.dtype, scratch: int) -> None:
        """Update x, float32 [B,N,C]; products are in `dtype`. tables: see `rotary_tables`."""
        batch, tokens, channels = x.shape
        normed = layer_norm(x, self.norm1, dtype)
        heads, weight = self.attn.heads, self.attn.qkv.weight
        q_weight, kv_weight = weight.to(dtype).split([channels, 2 * channels])
        k, v = (product(normed.flatten(0, 1), kv_weight)
                .view(batch, tokens, 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0))
        k = rotate(k, tables)
        for run in split_runs(tokens, batch * channels * 8 * dtype.itemsize, scratch):
            q = product(normed[:, run].flatten(0, 1), q_weight).view(batch, -1, heads, channels // heads)
            q = rotate(q.transpose(1, 2), tuple(table[run] for table in tables))
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, channels)
            y = linear(self.attn.proj, y).view(batch, -1, channels)
            x[:, run].addcmul_(y, self.gamma_1.to(y.dtype))
        rows, hidden = x.view(-1, channels), self.mlp.fc2.in_features
        for run in split_runs(len(rows), 4 * channels + (2 * channels + 3 * hidden) * dtype.itemsize,
                              scratch):
            y = self.expand(layer_norm(rows[run], self.norm2, dtype))
            y = linear(self.mlp.fc2, y)
            rows[run].addcmul_(y, self.gamma_2.to(y.dtype))

    def expand(self, x: Tensor) -> Tensor:
        """Apply the MLP without its last layer."""
        mlp = self.mlp
        if isinstance(mlp, GatedMlp):
            return F.silu(linear(mlp.fc1_g, x), inplace=True).mul_(linear(mlp.fc1_x, x))
        return gelu_(linear(mlp.fc1, x))


def split_runs(length: int, item_bytes: int, scratch: int) -> Iterator[slice]:
    """Split 0..length into slices of at least one item; `item_bytes` per item, at most `scratch` in all."""
    step = max(1, scratch // item_bytes)
    return (slice(start, start + step) for start in range(0, length, step))
