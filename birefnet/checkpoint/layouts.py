"""Rename the tensors of BiRefNets saved with Hugging Face's Swin (feyninc/FeyNobg) to the authors' names.

The network is the same; tensors have other names, and queries, keys and values are three tensors, not one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..network.family import Shapes
from .source import TensorSource

LAYOUT_TENSOR = "bb.swin.embeddings.patch_embeddings.projection.weight"
LAYER = r"^bb\.swin\.encoder\.layers\.(\d+)"
RENAMES = (
    (r"^bb\.swin\.embeddings\.patch_embeddings\.projection\.", r"bb.patch_embed.proj."),
    (r"^bb\.swin\.embeddings\.norm\.", r"bb.patch_embed.norm."),
    (LAYER + r"\.downsample\.", r"bb.layers.\1.downsample."),
    (LAYER + r"\.blocks\.(\d+)\.layernorm_before\.", r"bb.layers.\1.blocks.\2.norm1."),
    (LAYER + r"\.blocks\.(\d+)\.layernorm_after\.", r"bb.layers.\1.blocks.\2.norm2."),
    (LAYER + r"\.blocks\.(\d+)\.attention\.o_proj\.", r"bb.layers.\1.blocks.\2.attn.proj."),
    (LAYER + r"\.blocks\.(\d+)\.attention\.relative_position_bias\.", r"bb.layers.\1.blocks.\2.attn."),
    (LAYER + r"\.blocks\.(\d+)\.mlp\.", r"bb.layers.\1.blocks.\2.mlp."),
)
PARTS = re.compile(LAYER + r"\.blocks\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)$")
# Module lists start at the deepest stage, where the authors' numbers are highest: list → authors' prefix and
# number of its first item.
LISTS = {"decoder_blocks": ("decoder_block", 4), "lateral_blocks": ("lateral_block", 4),
         "ipt_blks": ("ipt_blk", 5), "conv_ms_spvn": ("conv_ms_spvn_", 4), "gdt_convs": ("gdt_convs_", 4),
         "gdt_convs_pred": ("gdt_convs_pred_", 4), "gdt_convs_attn": ("gdt_convs_attn_", 4)}
STAGE_NORM = re.compile(r"^bb\.hidden_states_norms\.stage(\d+)\.")
LISTED = re.compile(rf"^decoder\.({'|'.join(LISTS)})\.(\d+)\.")


def authors_name(name: str) -> str:
    """Return the authors' name of a tensor; queries, keys and values have the same one, that of `qkv`."""
    if parts := PARTS.match(name):
        layer, block, _, kind = parts.groups()
        return f"bb.layers.{layer}.blocks.{block}.attn.qkv.{kind}"
    if norm := STAGE_NORM.match(name):
        return f"bb.norm{int(norm[1]) - 1}.{name[norm.end():]}"
    if listed := LISTED.match(name):
        renamed, first = LISTS[listed[1]]
        return f"decoder.{renamed}{first - int(listed[2])}.{name[listed.end():]}"
    for pattern, plain in RENAMES:
        if re.match(pattern, name):
            return re.sub(pattern, plain, name)
    return name


def rename_tensors(source: TensorSource) -> TensorSource:
    """Return a source under the authors' names; one that has them already is returned unchanged."""
    if LAYOUT_TENSOR not in source.names:
        return source
    groups: dict[str, list[str]] = {}
    for name in sorted(source.names, key=part_order):
        groups.setdefault(authors_name(name), []).append(name)
    renamed = {name: source.names[parts[0]] for name, parts in groups.items()}
    stacked = {source.names[parts[0]]: [source.names[part] for part in parts]
               for parts in groups.values() if len(parts) > 1}

    def read(name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        if name not in stacked:
            return source.read(name, device, dtype)
        return torch.cat([source.read(part, device, dtype) for part in stacked[name]])

    return replace(source, names=renamed, shapes=join_shapes(source.shapes, groups), read=read)


def part_order(name: str) -> tuple[int, str]:
    """Sort key that puts queries, keys and values in this order."""
    parts = PARTS.match(name)
    return "qkv".index(parts[3]) if parts else 0, name


def join_shapes(shapes: Shapes, groups: Mapping[str, list[str]]) -> Shapes:
    """Compute the shapes of each group's tensors concatenated along the first axis."""
    found = {}
    for name, parts in groups.items():
        first = shapes[parts[0]]
        found[name] = first if len(parts) == 1 else (sum(shapes[part][0] for part in parts), *first[1:])
    return found
