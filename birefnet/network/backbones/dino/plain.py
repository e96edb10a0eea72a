"""DINOv3's vision transformers (Siméoni et al. 2025), with timm's tensor names."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Mlp

if TYPE_CHECKING:
    from ...config import Config

PATCH = 16         # pixels: side of a token
REGISTERS = 4      # register tokens (Darcet et al. 2024)
PREFIX = 1 + REGISTERS  # tokens before those of the map: class token and registers
PERIOD = 100.0     # longest period of the rotary positions, in halves of the map's side
EPS = 1e-5         # of LayerNorm


class VisionTransformer(nn.Module):
    """A vision transformer at stride 16: [B,3,H,W] → four maps [B,C,H/16,W/16].

    Map i is taken after `Config.depths[i]` more blocks; there is no final norm.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = Trunk(config)

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.model(image)


class Trunk(nn.Module):
    """Patch embedding, class and register tokens, and all blocks."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.widths[0]
        self.taps = {sum(config.depths[:i + 1]) - 1 for i in range(4)}
        self.head_width = width // config.heads[0]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.reg_token = nn.Parameter(torch.zeros(1, REGISTERS, width))
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(sum(config.depths)))

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.patch_embed.proj(image)
        batch, width, *size = x.shape
        tables = rotary_tables(*size, self.head_width, x.device)
        prefix = torch.cat([self.cls_token, self.reg_token], 1).expand(batch, -1, -1)
        x = torch.cat([prefix, x.flatten(2).transpose(1, 2)], 1)
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x, tables)
            if i in self.taps:
                features.append(x[:, PREFIX:].transpose(1, 2).reshape(batch, width, *size))
        return features


class PatchEmbed(nn.Module):
    """The convolution that embeds patches: [B,3,H,W] → [B,C,H/16,W/16]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)


class Block(nn.Module):
    """Pre-norm attention and MLP on tokens [B,N,C], with residual connections that are scaled per channel."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.widths[0]
        self.norm1 = nn.LayerNorm(width, EPS)
        self.attn = Attention(width, config.heads[0])
        self.gamma_1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.LayerNorm(width, EPS)
        self.mlp = (GatedMlp if config.gated_mlp else Mlp)(width, config.mlp_ratios[0] * width)
        self.gamma_2 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.gamma_1 * self.attn(self.norm1(x), tables)
        return x + self.gamma_2 * self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Self-attention over all tokens; queries and keys of the map's tokens are rotated by their positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        batch, tokens, channels = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(rotate(q, tables), rotate(k, tables), v)
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, channels))


class GatedMlp(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(width, hidden)
        self.fc1_x = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.silu(self.fc1_g(x)) * self.fc1_x(x))


# Rotary positions -------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def rotary_tables(height: int, width: int, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute the sines and cosines of a rotary position embedding (Su et al. 2021).

    A token's position is that of its centre, with both axes from −1 to 1. Per axis there are channels/4
    periods in geometric sequence from 1 to below PERIOD. Angles are ordered y, x, y, x, each a quarter of the
    channels.

    Args:
        height: of the map, in tokens.
        width: of the map, in tokens.
        channels: of an attention head.
        device: of the result.

    Returns:
        Two float32 [PREFIX+height·width,channels]; prefix tokens have angle 0.
    """
    with torch.inference_mode(False):  # cached inference tensors cannot be used in training
        periods = PERIOD ** (2.0 * torch.arange(channels // 4) / (channels // 2))
        y, x = ((torch.arange(n, dtype=torch.float32) + 0.5) / n * 2 - 1 for n in (height, width))
        positions = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).view(-1, 2, 1)
        angles = (2 * math.pi * positions / periods).flatten(1).tile(2)
        angles = torch.cat([angles.new_zeros(PREFIX, channels), angles])
        return angles.sin().to(device), angles.cos().to(device)


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the halves of each token's channels [...,N,channels] by its angles."""
    sine, cosine = tables
    first, second = x.chunk(2, -1)
    return (x * cosine + torch.cat([-second, first], -1) * sine).to(x.dtype)
