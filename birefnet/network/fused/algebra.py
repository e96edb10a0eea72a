"""Convolutions composed into one: what batch norms, 1×1 convolutions and splits do to weights. In float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def folded(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """A convolution (an ordinary or a deformable one's `regular_conv`) with the batch norm behind it, if there is one."""
    conv = getattr(conv, "regular_conv", conv)
    weight = conv.weight.double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    if isinstance(norm, nn.BatchNorm2d):
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * scale.view(-1, 1, 1, 1)
        bias = (bias - norm.running_mean.double()) * scale + norm.bias.double()
    return convolution(weight, bias, conv.padding, conv.dilation, conv.weight.dtype)


def mixed(conv: nn.Conv2d, mix: Tensor) -> nn.Conv2d:
    """A convolution followed by the 1×1 convolution `mix` [M,out,1,1] without bias."""
    matrix = mix.double().flatten(1)
    return convolution(torch.einsum("mo,ochw->mchw", matrix, conv.weight.double()), matrix @ conv.bias.double(),
                       conv.padding, conv.dilation, conv.weight.dtype)


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
                dtype: torch.dtype | None = None) -> nn.Conv2d:
    """A convolution with its weight in channels-last memory, where oneDNN and cuDNN are at their best."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), padding=padding, dilation=dilation,
                     bias=bias is not None, device="meta")
    weight = weight.detach().to(dtype or weight.dtype, copy=True, memory_format=torch.channels_last)
    conv.weight = nn.Parameter(weight)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().to(dtype or bias.dtype, copy=True))
    return conv
