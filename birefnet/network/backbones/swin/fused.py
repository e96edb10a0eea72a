"""Swin's inference form: each block is computed for groups of windows, in place.

Tokens interact only within a window, and in each block a token belongs to one window. So a block gathers a
group of windows, computes attention and MLP while their tokens are in the cache, and scatters the results
back. This one gather and one scatter replace padding, rolling, splitting and joining, and temporaries are
limited by the group.
Padding is not multiplied: a padding token is zero, so its query, key and value equal the bias.

The residual stream and LayerNorm are float32 in every dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....device.compat import put_rows
from ...ops.normalize import first_stage_dtype, layer_norm, layer_norm_map
from ...ops.products import convolve, gelu_, linear
from .plain import Block, PatchMerging, SwinTransformer, WindowAttention, edge_masks

GROUP_MULTIPLE = 16    # windows; products of odd sizes may miss the fastest kernels
MAX_CACHED_TABLES = 8  # lists of groups kept by a stage: one per map size, batch size and shift
BIAS_ALIGNMENT = 8     # elements; CUDA's fast attention kernels need rows of the bias to start at multiples


class FusedSwin(nn.Module):
    """The inference form of SwinTransformer."""

    def __init__(self, plain: SwinTransformer) -> None:
        super().__init__()
        self.patch_embed = plain.patch_embed
        self.layers = nn.ModuleList(FusedStage(stage) for stage in plain.layers)
        for i in range(len(plain.layers)):
            self.add_module(f"norm{i}", getattr(plain, f"norm{i}"))

    def forward(self, image: Tensor, scratch: int = sys.maxsize) -> list[Tensor]:
        """Return x1..x4, [B,C,H,W], channels-last, in the weights' dtype. image: preferably float32."""
        embed, dtype = self.patch_embed, self.norm0.weight.dtype
        x = layer_norm(convolve(embed.proj, image.float()).permute(0, 2, 3, 1), embed.norm, torch.float32)
        features = []
        for i, stage in enumerate(self.layers):
            stage(x, first_stage_dtype(dtype) if i == 0 else dtype, scratch)
            features.append(layer_norm_map(x, getattr(self, f"norm{i}"), dtype, scratch).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = merge_patches(x, stage.downsample, scratch)
        return features


class FusedStage(nn.Module):
    """Blocks at one resolution, and the tables of their windows."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(FusedBlock(block) for block in plain.blocks)
        self.downsample = plain.downsample
        self.groups = lru_cache(MAX_CACHED_TABLES)(group_windows)

    def _apply(self, fn, recurse: bool = True) -> FusedStage:
        self.groups = lru_cache(MAX_CACHED_TABLES)(group_windows)  # new: cached tables are on the old device
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor, dtype: torch.dtype, scratch: int) -> None:
        """Update x, float32 [B,H,W,C]; products are in `dtype`."""
        for block in self.blocks:
            block(x, dtype, scratch, self.groups)


class FusedBlock(nn.Module):
    """The inference form of Block, in place."""

    def __init__(self, plain: Block) -> None:
        super().__init__()
        self.norm1, self.attn = plain.norm1, FusedAttention(plain.attn)
        self.norm2, self.mlp = plain.norm2, plain.mlp

    def forward(self, x: Tensor, dtype: torch.dtype, scratch: int,
                groups: Callable[..., list[Group]]) -> None:
        """Update x, float32 [B,H,W,C]; products are in `dtype`. groups: `group_windows`, or a cache of it."""
        batch, height, width, channels = x.shape
        attn, mlp = self.attn, self.mlp
        token_bytes = 8 * channels + (len(mlp.fc1.weight) + 3 * channels) * dtype.itemsize
        windows = max(1, scratch // (token_bytes * attn.window**2))
        windows -= windows % GROUP_MULTIPLE if windows > GROUP_MULTIPLE else 0
        tokens = x.view(-1, channels)
        for group in groups(batch, height, width, attn.window, attn.shift, windows, x.device):
            part = tokens.index_select(0, group.tokens)
            part += attn(layer_norm(part, self.norm1, dtype), group)
            part += linear(mlp.fc2, gelu_(linear(mlp.fc1, layer_norm(part, self.norm2, dtype))))
            put_rows(tokens, group.tokens, part)


class FusedAttention(nn.Module):
    """WindowAttention for the tokens of a group, with a cached position bias."""

    def __init__(self, plain: WindowAttention) -> None:
        super().__init__()
        self.heads, self.window, self.shift = plain.heads, plain.window, plain.shift
        self.relative_position_bias_table = plain.relative_position_bias_table
        self.qkv, self.proj = plain.qkv, plain.proj
        self.bias: Tensor | None = None

    def _apply(self, fn, recurse: bool = True) -> FusedAttention:
        self.bias = None  # is on the old device, in the old dtype
        return super()._apply(fn, recurse)

    position_bias = WindowAttention.position_bias

    def forward(self, x: Tensor, group: Group) -> Tensor:
        """[T,C] → [T,C], the group's tokens, window by window."""
        qkv = linear(self.qkv, x)
        size = self.window**2
        if group.slots is not None:
            padded = self.qkv.bias.to(x.dtype).expand(group.windows * size, -1).contiguous()
            put_rows(padded, group.slots, qkv)
            qkv = padded
        q, k, v = qkv.view(group.windows, size, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        parts, start = [], 0
        for edge, count in group.runs:
            run = slice(start, start + count)
            y = F.scaled_dot_product_attention(q[run], k[run], v[run],
                                               attn_mask=self.attention_bias(edge, x.dtype))
            parts.append(y.transpose(1, 2).reshape(count * size, -1))
            start += count
        y = parts[0] if len(parts) == 1 else torch.cat(parts)
        return linear(self.proj, y if group.slots is None else y.index_select(0, group.slots))

    def attention_bias(self, edge: int, dtype: torch.dtype) -> Tensor:
        """[1,heads,N,N]: the position bias, plus the mask of windows at an edge (see Group.runs)."""
        bias = self.bias  # read once: another thread may reset it
        if bias is None:
            bias = self.position_bias(dtype)
            bias = self.bias = F.pad(bias, (0, -bias.shape[-1] % BIAS_ALIGNMENT))[..., :bias.shape[-1]]
        if not edge:
            return bias
        below, beside = edge_masks(self.window, self.shift, bias.device, dtype)
        return bias + {BELOW: below, BESIDE: beside, BELOW + BESIDE: below + beside}[edge]


# Windows --------------------------------------------------------------------------------------------------

BELOW, BESIDE = 1, 2  # edges: a shifted window is in the last row, in the last column, or in both (the sum)


class Group(NamedTuple):
    """Some windows of a batch of maps, and the positions of their tokens."""

    tokens: Tensor                # [T] indices in the flattened maps, window by window, without padding
    slots: Tensor | None          # [T] indices among the group's windows·side² tokens; None without padding
    windows: int                  # number of windows
    runs: list[tuple[int, int]]   # (edge, number of windows) in order; edge 0 is none


def group_windows(
    batch: int, height: int, width: int, side: int, shift: int, windows: int, device: torch.device
) -> list[Group]:
    """Group all windows of `batch` maps of height × width, sorted by edge, up to `windows` per group."""
    rows, columns = -(-height // side), -(-width // side)
    with torch.inference_mode(False):
        y, x = ((torch.arange(n * side) + shift) % (n * side) for n in (rows, columns))
        place = y[:, None] * width + x[None, :]
        place[y >= height] = -1
        place[:, x >= width] = -1
        place = place.view(rows, side, columns, side).transpose(1, 2).reshape(1, rows * columns, -1)
        offset = torch.arange(batch).view(-1, 1, 1) * (height * width)
        place = torch.where(place < 0, -1, place + offset).flatten(0, 1)
        edge = torch.zeros(batch, rows, columns, dtype=torch.long)
        if shift:
            edge[:, -1] += BELOW
            edge[:, :, -1] += BESIDE
        edge, order = edge.flatten().sort(stable=True)
        groups = []
        for start in range(0, len(order), windows):
            places = place[order[start:start + windows]].flatten()
            slots = (places >= 0).nonzero()[:, 0]
            kinds, counts = edge[start:start + windows].unique_consecutive(return_counts=True)
            groups.append(Group(places[slots].to(device),
                                None if len(slots) == len(places) else slots.to(device),
                                len(places) // side**2, list(zip(kinds.tolist(), counts.tolist()))))
    return groups


# Between stages -------------------------------------------------------------------------------------------


def merge_patches(x: Tensor, merging: PatchMerging, scratch: int) -> Tensor:
    """Apply `merging` in bands of rows: float32 [B,H,W,C] → float32 [B,⌈H/2⌉,⌈W/2⌉,2C]."""
    batch, height, width, channels = x.shape
    dtype = merging.reduction.weight.dtype
    y = x.new_empty(batch, -(-height // 2), -(-width // 2), 2 * channels)
    step = max(1, scratch // (batch * y.shape[2] * 4 * channels * 10))
    for start in range(0, y.shape[1], step):
        part = x[:, 2 * start:2 * (start + step)]
        part = F.pad(part, (0, 0, 0, width % 2, 0, part.shape[1] % 2))
        part = torch.cat([part[:, 0::2, 0::2], part[:, 1::2, 0::2], part[:, 0::2, 1::2], part[:, 1::2, 1::2]],
                         -1)
        part = linear(merging.reduction, layer_norm(part, merging.norm, dtype).flatten(0, 2))
        y[:, start:start + step] = part.view(batch, -1, *y.shape[2:])
    return y
