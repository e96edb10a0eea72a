"""The image's part of the logits: two convolutions merged into one."""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import PatchBlock
from ..ops.bands import iterate_bands

PIXEL_BYTES = 80  # of temporaries per pixel: oneDNN pads image and output to blocks of 8 or 16 channels


class ImageHead(nn.Module):
    """`ipt_blk1` and its half of `conv_out1` as one 5×5 convolution, [B,3,H,W] → [B,1,H,W].

    Outside the map, the second 3×3 convolution reads zeros, not results of the first one. So for pixels at
    the border, its taps outside are dropped before merging: nine kernels, {first, inner, last} row × column.
    """

    def __init__(self, block: PatchBlock, mix: Tensor, bias: Tensor) -> None:
        super().__init__()
        first, second = block.conv1, block.conv_out
        dtype = first.weight.dtype
        taps = torch.einsum("o,ochw->chw", mix.double().flatten(), second.weight.double())
        constant = bias.double() + mix.double().flatten() @ second.bias.double()
        kernels, biases = [], []
        for rows in (slice(1, 3), slice(0, 3), slice(0, 2)):
            for columns in (slice(1, 3), slice(0, 3), slice(0, 2)):
                inside = torch.zeros_like(taps)
                inside[:, rows, columns] = taps[:, rows, columns]
                # Two correlations in sequence have the full convolution of their kernels as kernel.
                kernels.append(F.conv_transpose2d(inside[None], first.weight.double()))
                biases.append(constant + (inside.sum((1, 2)) * first.bias.double()).sum())
        self.kernels = nn.Parameter(torch.stack(kernels).view(3, 3, 1, first.in_channels, 5, 5).to(dtype))
        self.biases = nn.Parameter(torch.stack(biases).view(3, 3, 1).to(dtype))

    def forward(self, image: Tensor, scratch: int = sys.maxsize) -> Tensor:
        """Compute logits, float32 [B,1,H,W]. scratch: bytes of temporaries."""
        batch, _, height, width = image.shape
        padded = F.pad(image.float(), (2, 2, 2, 2))
        logits = padded.new_empty(batch, 1, height, width)
        for start, stop in iterate_bands(height, PIXEL_BYTES * batch * width, scratch):
            logits[:, :, start:stop] = self.part(padded[:, :, start:stop + 4], 1, 1)
        ends = ((0, slice(0, 5), slice(0, 1)), (2, slice(-5, None), slice(-1, None)))
        for row, read, write in ends:
            logits[:, :, write] = self.part(padded[:, :, read], row, 1)
        for column, read, write in ends:
            logits[..., write] = self.part(padded[..., read], 1, column)
        for row, read_rows, write_rows in ends:
            for column, read_columns, write_columns in ends:
                logits[:, :, write_rows, write_columns] = self.part(padded[:, :, read_rows, read_columns],
                                                                    row, column)
        return logits

    def part(self, padded: Tensor, row: int, column: int) -> Tensor:
        """Apply one of the nine kernels; row, column: 0 first, 1 inner, 2 last."""
        return F.conv2d(padded, self.kernels[row, column].float(), self.biases[row, column].float())
