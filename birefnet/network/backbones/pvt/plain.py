"""Pyramid Vision Transformer v2 (Wang et al. 2022) with the tensor names of BiRefNet's checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from ...config import Config

BLOCK_EPS = 1e-6  # of the blocks' and stages' LayerNorm; that of embeddings and attention is 1e-5


class PyramidVisionTransformer(nn.Module):
    """Four stages of spatial-reduction attention: [B,3,H,W] → x1..x4 at strides 4, 8, 16, 32."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        for i in range(4):
            width = config.widths[i]
            embed = OverlapPatchEmbed(config.widths[i - 1], width, 3,
                                      2) if i else OverlapPatchEmbed(3, width, 7, 4)
            blocks = (Block(width, config.heads[i], config.mlp_ratios[i], config.reductions[i])
                      for _ in range(config.depths[i]))
            self.add_module(f"patch_embed{i + 1}", embed)
            self.add_module(f"block{i + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{i + 1}", nn.LayerNorm(width, BLOCK_EPS))

    def forward(self, image: Tensor) -> list[Tensor]:
        x, features = image, []
        for i in range(1, 5):
            tokens = getattr(self, f"patch_embed{i}")(x)
            for block in getattr(self, f"block{i}"):
                tokens = block(tokens)
            x = getattr(self, f"norm{i}")(tokens).permute(0, 3, 1, 2).contiguous()
            features.append(x)
        return features


class OverlapPatchEmbed(nn.Module):
    """[B,C,H,W] → tokens [B,⌈H/stride⌉,⌈W/stride⌉,width]."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Block(nn.Module):
    """Pre-norm attention and MLP with residual connections, on [B,H,W,C]."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, reduction: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, BLOCK_EPS)
        self.attn = SpatialReductionAttention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, BLOCK_EPS)
        self.mlp = ConvMlp(width, mlp_ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SpatialReductionAttention(nn.Module):
    """Self-attention over a map; keys and values come from it at `reduction` times smaller sides."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.sr = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        q = self.q(x).view(batch, height * width, self.heads, -1).transpose(1, 2)
        if self.sr is not None:
            x = self.norm(self.sr(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        k, v = self.kv(x).view(batch, -1, 2, self.heads,
                               channels // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(batch, height, width, channels))


class ConvMlp(nn.Module):
    """Linear, 3×3 depth-wise convolution, exact GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))


class DepthwiseConv(nn.Module):
    """A 3×3 depth-wise convolution of [B,H,W,C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
