"""Convolutions composed into one: what batch norms, 1×1 convolutions and splits do to weights. In float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def folded(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """A convolution (an ordinary or a deformable one's `regular_conv`) with the batch norm behind it, if there is one."""
    conv = getattr(conv, "regular_conv", conv)
    weight, bias = folded_values(conv, norm)
    return convolution(weight, bias, conv.padding, conv.dilation, conv.weight.dtype, conv.stride, conv.groups)


def folded_values(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm behind it, if there is one, in float64."""
    weight = conv.weight.double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    if isinstance(norm, nn.BatchNorm2d):
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.double()
        weight = weight * scale.view(-1, 1, 1, 1)
        bias = (bias - norm.running_mean.double()) * scale
        bias = bias if norm.bias is None else bias + norm.bias.double()
    return weight, bias


def folded_into(conv: nn.Conv2d, norm: nn.Module | None = None) -> nn.Conv2d:
    """Any kind of convolution, in place: with the batch norm behind it, its weight in channels-last memory."""
    weight, bias, dtype = conv.weight, conv.bias, conv.weight.dtype
    if norm is not None:
        weight, bias = folded_values(conv, norm)
    conv.weight = nn.Parameter(weight.detach().to(dtype, copy=True, memory_format=torch.channels_last))
    conv.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype, copy=True))
    return conv


def mixed(conv: nn.Conv2d, mix: Tensor) -> nn.Conv2d:
    """A convolution followed by the 1×1 convolution `mix` [M,out,1,1] without bias."""
    matrix = mix.double().flatten(1)
    return convolution(torch.einsum("mo,ochw->mchw", matrix, conv.weight.double()), matrix @ conv.bias.double(),
                       conv.padding, conv.dilation, conv.weight.dtype)


def composed(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """A 1×1 convolution followed by another."""
    made = mixed(first, second.weight)
    made.bias = nn.Parameter((made.bias.double() + second.bias.double()).to(made.bias.dtype))
    return made


def split(conv: nn.Conv2d, channels: list[int]) -> nn.ModuleList:
    """Convolutions whose sum over parts of the input is `conv` of their concatenation; the first one has the bias."""
    parts = conv.weight.split(channels, 1)
    return nn.ModuleList(convolution(part, None if i else conv.bias, conv.padding, conv.dilation)
                         for i, part in enumerate(parts))


def merged(convs: list[nn.Module]) -> nn.Conv2d:
    """One convolution for the offsets and modulations of deformable convolutions of one kernel size."""
    parts = [part for conv in convs for part in (conv.offset_conv, conv.modulator_conv)]
    return convolution(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]),
                       parts[0].padding)


def convolution(weight: Tensor, bias: Tensor | None, padding: tuple[int, ...], dilation: tuple[int, ...] = (1, 1),
                dtype: torch.dtype | None = None, stride: tuple[int, ...] = (1, 1), groups: int = 1) -> nn.Conv2d:
    """A convolution with its weight in channels-last memory, where oneDNN and cuDNN are at their best."""
    conv = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), stride, padding, dilation,
                     groups, bias is not None, device="meta")
    weight = weight.detach().to(dtype or weight.dtype, copy=True, memory_format=torch.channels_last)
    conv.weight = nn.Parameter(weight)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().to(dtype or bias.dtype, copy=True))
    return conv
