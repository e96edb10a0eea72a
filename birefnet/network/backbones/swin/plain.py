"""Swin Transformer v1 (Liu et al. 2021) as BiRefNet's checkpoints expect it.

Two details differ from most libraries and change the results: the *normalised* map is padded to whole
windows, and odd blocks shift their windows even if the map is a single window.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Mlp

if TYPE_CHECKING:
    from ...config import Config


class SwinTransformer(nn.Module):
    """Four stages of windowed self-attention: [B,3,H,W] → x1..x4 at strides 4, 8, 16, 32."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.widths[0])
        self.layers = nn.ModuleList(
            Stage(config.widths[i], config.depths[i], config.heads[i], config.window, config.mlp_ratios[i],
                  i < 3)
            for i in range(4)
        )
        for i, width in enumerate(config.widths):
            self.add_module(f"norm{i}", nn.LayerNorm(width))

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.patch_embed(image)
        features = []
        for i, stage in enumerate(self.layers):
            x, downsampled = stage(x)
            features.append(getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2).contiguous())
            x = downsampled
        return features


class PatchEmbed(nn.Module):
    """[B,3,H,W], H and W multiples of 4 → tokens [B,H/4,W/4,C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 4, 4)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Blocks at one resolution; returns the map [B,H,W,C] and the next stage's input."""

    def __init__(self, width: int, depth: int, heads: int, window: int, mlp_ratio: int,
                 downsample: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, window, window // 2 if i % 2 else 0, mlp_ratio) for i in range(depth)
        )
        self.downsample = PatchMerging(width) if downsample else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        for block in self.blocks:
            x = block(x)
        return x, self.downsample(x) if self.downsample is not None else None


class Block(nn.Module):
    """Pre-norm window attention and MLP with residual connections, on [B,H,W,C]."""

    def __init__(self, width: int, heads: int, window: int, shift: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class WindowAttention(nn.Module):
    """Self-attention in windows of `window`² tokens, with a learned bias per relative position.

    After rolling, shifted windows in the last row and column hold tokens from opposite sides of the padded
    map, which must not attend to each other. All windows of that row (column) have the same mask, so four
    biases serve maps of all sizes: interior, last row, last column, corner.
    """

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B,H,W,C] → [B,H,W,C]; pads right and bottom to whole windows, and crops the result."""
        height, width = x.shape[1:3]
        side, shift = self.window, self.shift
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        windows = split_windows(self.qkv(x), side)
        bias = self.position_bias(x.dtype)
        if shift:
            y = self.attend_shifted(windows, bias)
        else:
            y = self.attend(windows, bias)
        y = self.proj(join_windows(y, side))
        if shift:
            y = y.roll((shift, shift), (1, 2))
        return y[:, :height, :width]

    def position_bias(self, dtype: torch.dtype) -> Tensor:
        """Return [1,heads,N,N], with N = window² tokens, indexed by query, then key."""
        index = relative_position_index(self.window, self.relative_position_bias_table.device)
        bias = self.relative_position_bias_table[index.flatten()].to(dtype)
        return bias.view(*index.shape, self.heads).permute(2, 0, 1).unsqueeze(0).contiguous()

    def attend_shifted(self, windows: Tensor, bias: Tensor) -> Tensor:
        """Apply `attend` to shifted windows, with masks in the last row and column."""
        below, beside = edge_masks(self.window, self.shift, bias.device, bias.dtype)
        rows, columns = windows.shape[1:3]
        inside, last_row, last_column = slice(0, rows - 1), slice(rows - 1, rows), slice(columns - 1, columns)
        before = slice(0, columns - 1)
        y = windows.new_empty(*windows.shape[:4], windows.shape[4] // 3)
        for at_row, at_column, mask in ((inside, before, None), (last_row, before, below),
                                        (inside, last_column, beside),
                                        (last_row, last_column, below + beside)):
            part = windows[:, at_row, at_column]
            if part.numel():
                y[:, at_row, at_column] = self.attend(part, bias if mask is None else bias + mask)
        return y

    def attend(self, windows: Tensor, bias: Tensor) -> Tensor:
        """softmax(q·kᵀ/√d + bias)·v in each window: [B,rows,columns,N,3C] → [B,rows,columns,N,C]."""
        *grid, tokens, triple = windows.shape
        qkv = windows.reshape(-1, tokens, 3, self.heads, triple // 3 // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return y.transpose(1, 2).reshape(*grid, tokens, triple // 3)


def split_windows(x: Tensor, side: int) -> Tensor:
    """[B,H,W,C] → [B,H/side,W/side,side²,C]."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(batch, height // side, width // side, side * side, channels)


def join_windows(windows: Tensor, side: int) -> Tensor:
    """The inverse of `split_windows`."""
    batch, rows, columns, _, channels = windows.shape
    x = windows.view(batch, rows, columns, side, side, channels).transpose(2, 3)
    return x.reshape(batch, rows * side, columns * side, channels)


@lru_cache(maxsize=8)
def relative_position_index(side: int, device: torch.device) -> Tensor:
    """Rows of the bias table [N,N] for query i, key j: (yi−yj+side−1)·(2·side−1) + (xi−xj+side−1)."""
    with torch.inference_mode(False):  # cached inference tensors cannot be used in training
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        y, x = y.flatten(), x.flatten()
        index = (y[:, None] - y[None, :] + side - 1) * (2 * side - 1) + (x[:, None] - x[None, :] + side - 1)
        return index.to(device)


@lru_cache(maxsize=8)
def edge_masks(side: int, shift: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return two [N,N] masks, 0 or −inf, for windows of the last row and of the last column after a shift.

    −inf separates rows (columns) that were at opposite sides of the map.
    """
    with torch.inference_mode(False):
        wrapped = torch.arange(side) >= side - shift
        row = wrapped[:, None].expand(side, side).flatten()
        column = wrapped[None, :].expand(side, side).flatten()
        return tuple(torch.zeros(side * side, side * side, dtype=dtype)
                     .masked_fill_(at[:, None] != at[None, :], float("-inf")).to(device)
                     for at in (row, column))


class PatchMerging(nn.Module):
    """[B,H,W,C] → [B,⌈H/2⌉,⌈W/2⌉,2C]: concatenates 2×2 neighbours, LayerNorm, linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduction(self.norm(x))
