"""Merges batch norms, 1×1 convolutions and concatenations into convolutions' weights, in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fold_norm(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """Make a convolution that includes the batch norm or Identity after it. conv: or a DeformableConv."""
    conv = getattr(conv, "regular_conv", conv)
    weight, bias = fold_norm_values(conv, norm)
    return make_convolution(weight, bias, conv.padding, conv.dilation, conv.weight.dtype, conv.stride,
                            conv.groups)


def fold_norm_values(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Compute the float64 weight and bias of a convolution that includes the batch norm after it, if any."""
    weight = conv.weight.double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    if isinstance(norm, nn.BatchNorm2d):
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.double()
        weight = weight * scale.view(-1, 1, 1, 1)
        bias = (bias - norm.running_mean.double()) * scale
        bias = bias if norm.bias is None else bias + norm.bias.double()
    return weight, bias


def fold_norm_(conv: nn.Conv2d, norm: nn.Module | None = None) -> nn.Conv2d:
    """Fold the batch norm after a convolution into it, in place; its weight becomes channels-last."""
    weight, bias, dtype = conv.weight, conv.bias, conv.weight.dtype
    if norm is not None:
        weight, bias = fold_norm_values(conv, norm)
    conv.weight = nn.Parameter(weight.detach().to(dtype, copy=True, memory_format=torch.channels_last))
    conv.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype, copy=True))
    return conv


def mix_outputs(conv: nn.Conv2d, mix: Tensor) -> nn.Conv2d:
    """Merge a convolution and the 1×1 convolution after it, `mix` [M,out,1,1] without bias."""
    matrix = mix.double().flatten(1)
    return make_convolution(torch.einsum("mo,ochw->mchw", matrix, conv.weight.double()),
                            matrix @ conv.bias.double(), conv.padding, conv.dilation, conv.weight.dtype)


def compose_pointwise(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Merge two 1×1 convolutions in sequence."""
    made = mix_outputs(first, second.weight)
    made.bias = nn.Parameter((made.bias.double() + second.bias.double()).to(made.bias.dtype))
    return made


def split_inputs(conv: nn.Conv2d, channels: list[int]) -> nn.ModuleList:
    """Split a convolution by input channels: the results sum to its result; the first has the bias."""
    parts = conv.weight.split(channels, 1)
    return nn.ModuleList(make_convolution(part, None if i else conv.bias, conv.padding, conv.dilation)
                         for i, part in enumerate(parts))


def merge_offset_convolutions(convs: list[nn.Module]) -> nn.Conv2d:
    """Merge the offset and modulation convolutions of deformable convolutions of one kernel size."""
    parts = [part for conv in convs for part in (conv.offset_conv, conv.modulator_conv)]
    return make_convolution(torch.cat([part.weight for part in parts]),
                            torch.cat([part.bias for part in parts]), parts[0].padding)


def make_convolution(weight: Tensor, bias: Tensor | None, padding: tuple[int, ...],
                     dilation: tuple[int, ...] = (1, 1), dtype: torch.dtype | None = None,
                     stride: tuple[int, ...] = (1, 1), groups: int = 1) -> nn.Conv2d:
    """Make a convolution with a copied, channels-last weight, for which oneDNN and cuDNN are fastest."""
    conv = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), stride, padding,
                     dilation, groups, bias is not None, device="meta")
    weight = weight.detach().to(dtype or weight.dtype, copy=True, memory_format=torch.channels_last)
    conv.weight = nn.Parameter(weight)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().to(dtype or bias.dtype, copy=True))
    return conv
