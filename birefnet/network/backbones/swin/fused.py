"""Swin's inference form: whole blocks run over groups of windows, in place.

Tokens interact inside windows only, and a token belongs to one window of a block. So a block takes a group of windows
out of the map, runs attention and MLP while their tokens are in the cache, and puts them back where they were: padding,
rolling, splitting and joining are one gather and one scatter, and temporaries are as large as the group. Padding never
enters a matrix product: a padded token is zero where queries, keys and values are made, so there it is their bias.

The residual stream and what LayerNorm computes are float32 in every dtype.
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
from ...ops.normalize import early_dtype, normalized, normalized_map
from ...ops.products import convolve, gelu_, linear
from .plain import Block, PatchMerging, SwinTransformer, WindowAttention, edge_masks

EVEN = 16    # windows of a group: products of odd sizes may miss the fastest kernels
KEPT = 8     # tables of windows that a stage remembers, of different sizes, batches and shifts
ALIGNED = 8  # elements: rows of a bias that start so keep CUDA's fast attention kernels


class FusedSwin(nn.Module):
    def __init__(self, plain: SwinTransformer) -> None:
        super().__init__()
        self.patch_embed = plain.patch_embed
        self.layers = nn.ModuleList(FusedStage(stage) for stage in plain.layers)
        for i in range(len(plain.layers)):
            self.add_module(f"norm{i}", getattr(plain, f"norm{i}"))

    def forward(self, image: Tensor, scratch: int = sys.maxsize) -> list[Tensor]:
        """x1..x4, [B,C,H,W] in channels-last memory and the weights' dtype; the image is best float32."""
        embed, dtype = self.patch_embed, self.norm0.weight.dtype
        x = normalized(convolve(embed.proj, image.float()).permute(0, 2, 3, 1), embed.norm, torch.float32)
        features = []
        for i, stage in enumerate(self.layers):
            stage(x, early_dtype(dtype) if i == 0 else dtype, scratch)
            features.append(normalized_map(x, getattr(self, f"norm{i}"), dtype, scratch).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = merge(x, stage.downsample, scratch)
        return features


class FusedStage(nn.Module):
    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(FusedBlock(block) for block in plain.blocks)
        self.downsample = plain.downsample
        self.groups = lru_cache(KEPT)(window_groups)

    def _apply(self, fn, recurse: bool = True) -> FusedStage:
        self.groups = lru_cache(KEPT)(window_groups)  # those there were are on the device that the network leaves
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor, dtype: torch.dtype, scratch: int) -> None:
        """Changes x, float32 [B,H,W,C]; products are in `dtype`."""
        for block in self.blocks:
            block(x, dtype, scratch, self.groups)


class FusedBlock(nn.Module):
    def __init__(self, plain: Block) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = plain.norm1, FusedAttention(plain.attn), plain.norm2, plain.mlp

    def forward(self, x: Tensor, dtype: torch.dtype, scratch: int, groups: Callable[..., list[Group]]) -> None:
        """Changes x, float32 [B,H,W,C]; products are in `dtype`. groups: `window_groups`, or a cache of it."""
        batch, height, width, channels = x.shape
        attn, mlp = self.attn, self.mlp
        token = 8 * channels + (len(mlp.fc1.weight) + 3 * channels) * dtype.itemsize
        most = max(1, scratch // (token * attn.window**2))
        most -= most % EVEN if most > EVEN else 0
        tokens = x.view(-1, channels)
        for group in groups(batch, height, width, attn.window, attn.shift, most, x.device):
            part = tokens.index_select(0, group.tokens)
            part += attn(normalized(part, self.norm1, dtype), group)
            part += linear(mlp.fc2, gelu_(linear(mlp.fc1, normalized(part, self.norm2, dtype))))
            put_rows(tokens, group.tokens, part)


class FusedAttention(nn.Module):
    def __init__(self, plain: WindowAttention) -> None:
        super().__init__()
        self.heads, self.window, self.shift = plain.heads, plain.window, plain.shift
        self.relative_position_bias_table = plain.relative_position_bias_table
        self.qkv, self.proj = plain.qkv, plain.proj
        self.bias: Tensor | None = None

    def _apply(self, fn, recurse: bool = True) -> FusedAttention:
        self.bias = None  # of another device or dtype
        return super()._apply(fn, recurse)

    position_bias = WindowAttention.position_bias

    def forward(self, x: Tensor, group: Group) -> Tensor:
        """[T,C] → [T,C], the group's tokens window by window."""
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
            y = F.scaled_dot_product_attention(q[run], k[run], v[run], attn_mask=self.biased(edge, x.dtype))
            parts.append(y.transpose(1, 2).reshape(count * size, -1))
            start += count
        y = parts[0] if len(parts) == 1 else torch.cat(parts)
        return linear(self.proj, y if group.slots is None else y.index_select(0, group.slots))

    def biased(self, edge: int, dtype: torch.dtype) -> Tensor:
        """[1,heads,N,N]: the position bias, built once, and the mask of windows at an edge."""
        bias = self.bias  # another thread may empty it meanwhile
        if bias is None:
            bias = self.position_bias(dtype)
            bias = self.bias = F.pad(bias, (0, -bias.shape[-1] % ALIGNED))[..., :bias.shape[-1]]
        if not edge:
            return bias
        below, beside = edge_masks(self.window, self.shift, bias.device, dtype)
        return bias + {BELOW: below, BESIDE: beside, BELOW + BESIDE: below + beside}[edge]


# Windows ---------------------------------------------------------------------------------------------------------

BELOW, BESIDE = 1, 2  # a window is in the last row, in the last column of shifted windows


class Group(NamedTuple):
    """Some windows of a batch of maps, and where their tokens are."""

    tokens: Tensor                # [T] places in the flattened maps, window by window, padding left out
    slots: Tensor | None          # [T] places among the group's windows·side² tokens; None where nothing is padding
    windows: int
    runs: list[tuple[int, int]]   # edge and number of windows, in order


def window_groups(batch: int, height: int, width: int, side: int, shift: int, most: int, device: torch.device
                  ) -> list[Group]:
    """All windows of `batch` maps of height × width, `most` to a group, windows with the same mask side by side."""
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
        for start in range(0, len(order), most):
            places = place[order[start:start + most]].flatten()
            slots = (places >= 0).nonzero()[:, 0]
            kinds, counts = edge[start:start + most].unique_consecutive(return_counts=True)
            groups.append(Group(places[slots].to(device), None if len(slots) == len(places) else slots.to(device),
                                len(places) // side**2, list(zip(kinds.tolist(), counts.tolist()))))
    return groups


# Around the blocks -------------------------------------------------------------------------------------------------


def merge(x: Tensor, merging: PatchMerging, scratch: int) -> Tensor:
    """Patch merging, float32 [B,H,W,C] → float32 [B,⌈H/2⌉,⌈W/2⌉,2C]."""
    batch, height, width, channels = x.shape
    dtype = merging.reduction.weight.dtype
    y = x.new_empty(batch, -(-height // 2), -(-width // 2), 2 * channels)
    step = max(1, scratch // (batch * y.shape[2] * 4 * channels * 10))
    for start in range(0, y.shape[1], step):
        part = x[:, 2 * start:2 * (start + step)]
        part = F.pad(part, (0, 0, 0, width % 2, 0, part.shape[1] % 2))
        part = torch.cat([part[:, 0::2, 0::2], part[:, 1::2, 0::2], part[:, 0::2, 1::2], part[:, 1::2, 1::2]], -1)
        part = linear(merging.reduction, normalized(part, merging.norm, dtype).flatten(0, 2))
        y[:, start:start + step] = part.view(batch, -1, *y.shape[2:])
    return y
