"""DINOv3's vision transformers (Siméoni et al. 2025) with timm's tensor names, which BiRefNet's checkpoints have."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from ...config import Config

PATCH = 16         # pixels: side of a token
REGISTERS = 4      # tokens beside the class token that stand for no place
PREFIX = 1 + REGISTERS
PERIOD = 100.0     # longest period of the rotary positions, in half maps
EPS = 1e-5


class VisionTransformer(nn.Module):
    """Self-attention at stride 16; `forward` maps [B,3,H,W] to four maps [B,C,H/16,W/16], each taken after as many
    blocks as `Config.depths` says, without a final norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = Trunk(config)

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.model(image)


class Trunk(nn.Module):
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
        turns = rotations(*size, self.head_width, x.device)
        prefix = torch.cat([self.cls_token, self.reg_token], 1).expand(batch, -1, -1)
        x = torch.cat([prefix, x.flatten(2).transpose(1, 2)], 1)
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x, turns)
            if i in self.taps:
                features.append(x[:, PREFIX:].transpose(1, 2).reshape(batch, width, *size))
        return features


class PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)


class Block(nn.Module):
    """Attention and an MLP on [B,N,C], each behind a LayerNorm, scaled per channel and inside a residual."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.widths[0]
        self.norm1 = nn.LayerNorm(width, EPS)
        self.attn = Attention(width, config.heads[0])
        self.gamma_1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.LayerNorm(width, EPS)
        self.mlp = (GatedMlp if config.gated_mlp else Mlp)(width, config.mlp_ratios[0] * width)
        self.gamma_2 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.gamma_1 * self.attn(self.norm1(x), turns)
        return x + self.gamma_2 * self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Self-attention over all tokens; queries and keys of the map's tokens are turned by their places."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        batch, tokens, channels = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(turned(q, turns), turned(k, turns), v)
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, channels))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


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
def rotations(height: int, width: int, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Sines and cosines [PREFIX+height·width,channels], float32; prefix tokens are not turned.

    A place is the middle of its token, both axes from −1 to 1; channels/4 periods from 1 up to PERIOD, geometrically.
    First all angles of y, then those of x, and the same again for the second half of the channels.
    """
    with torch.inference_mode(False):  # a cached inference tensor could not serve training later
        periods = PERIOD ** (2.0 * torch.arange(channels // 4) / (channels // 2))
        y, x = ((torch.arange(n, dtype=torch.float32) + 0.5) / n * 2 - 1 for n in (height, width))
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).view(-1, 2, 1)
        angles = (2 * math.pi * places / periods).flatten(1).tile(2)
        angles = torch.cat([angles.new_zeros(PREFIX, channels), angles])
        return angles.sin().to(device), angles.cos().to(device)


def turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Tokens [...,N,channels], the halves of their channels turned against each other (Su et al. 2021)."""
    sine, cosine = turns
    first, second = x.chunk(2, -1)
    return (x * cosine + torch.cat([-second, first], -1) * sine).to(x.dtype)
