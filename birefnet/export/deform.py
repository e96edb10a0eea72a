"""Deformable convolution for exported files: ONNX's own operator, or GridSample and 1×1 convolutions."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..network.blocks import DeformableConv
from ..network.deform import deform_conv2d

OPERATOR = "birefnet_export::deform_conv2d"
# Stays referenced, because its operators live only as long as it does.
LIBRARY = torch.library.Library("birefnet_export", "FRAGMENT")


class NativeDeformableConv(nn.Module):
    """`DeformConv` of opset 19."""

    def __init__(self, plain: DeformableConv) -> None:
        super().__init__()
        self.offset_conv, self.modulator_conv = plain.offset_conv, plain.modulator_conv
        self.regular_conv = plain.regular_conv
        self.operator = native_operator()

    def forward(self, x: Tensor) -> Tensor:
        modulation = 2 * self.modulator_conv(x).sigmoid()
        return self.operator(x, self.offset_conv(x), modulation, self.regular_conv.weight)


@functools.cache
def native_operator() -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Register our deformable convolution as one operator, which PyTorch's exporter writes as DeformConv."""
    namespace, name = OPERATOR.split("::")
    if not hasattr(getattr(torch.ops, namespace), name):
        LIBRARY.define(f"{name}(Tensor x, Tensor offset, Tensor modulation, Tensor weight) -> Tensor")
        LIBRARY.impl(name, lambda *tensors: deform_conv2d(*tensors).contiguous(), "CPU")

    def symbol(graph, x, offset, modulation, weight):
        out, _, side, _ = weight.type().sizes()
        bias = graph.op("Constant", value_t=torch.zeros(out))
        return graph.op("DeformConv", x, weight, offset, bias, modulation, kernel_shape_i=[side] * 2,
                        pads_i=[side // 2] * 4)

    torch.onnx.register_custom_op_symbolic(OPERATOR, symbol, 19)
    return getattr(getattr(torch.ops, namespace), name)


class SampledDeformableConv(nn.Module):
    """One GridSample and one 1×1 convolution for each row of the kernel: [B,C,H,W] → [B,O,H,W].

    A row at a time bounds the memory: all 49 taps of a 7×7 kernel at once would take 7 times as much.
    """

    def __init__(self, plain: DeformableConv) -> None:
        super().__init__()
        self.offset_conv, self.modulator_conv = plain.offset_conv, plain.modulator_conv
        weight = plain.regular_conv.weight.detach()
        self.side, taps = weight.shape[2], weight.shape[2] ** 2
        order = torch.arange(2 * taps).view(taps, 2).T.flatten()  # all dy, then all dx, instead of pairs
        conv = self.offset_conv
        conv.weight, conv.bias = (nn.Parameter(values.detach()[order]) for values in (conv.weight, conv.bias))
        self.rows = nn.ParameterList(weight[:, :, row].flatten(1)[..., None, None].contiguous()
                                     for row in range(self.side))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        side = self.side
        dy, dx = self.offset_conv(x).chunk(2, 1)
        modulation = 2 * self.modulator_conv(x).sigmoid()
        y = torch.arange(height).to(x.dtype)[:, None] + dy
        x_at = torch.arange(width).to(x.dtype) + (torch.arange(side) - side // 2).to(x.dtype)[:, None, None]
        total = None
        for row, weight in enumerate(self.rows):
            taps = slice(row * side, (row + 1) * side)
            # GridSample's coordinates run from -1 to 1 between the image's outer edges.
            at_y = (2 * (y[:, taps] + (row - side // 2)) + 1) / height - 1
            at_x = (2 * (x_at + dx[:, taps]) + 1) / width - 1
            grid = torch.stack([at_x, at_y], -1).reshape(batch, side * height, width, 2)
            sampled = F.grid_sample(x, grid, "bilinear", "zeros", align_corners=False)
            sampled = sampled.reshape(batch, channels, side, height * width)
            weighted = sampled * modulation[:, taps].reshape(batch, 1, side, height * width)
            part = F.conv2d(weighted.reshape(batch, channels * side, height, width), weight)
            total = part if total is None else total + part
        return total
