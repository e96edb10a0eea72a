"""The deformable convolution's gather as a Triton kernel, for CUDA.

`plain` computes index lists for `embedding_bag`. Here one kernel computes columns from offsets: positions,
weights and sums stay in registers (float32), and only columns are written. The matrix product is cuBLAS's,
over runs of columns that limit memory. A 7×7 branch at stride 4 of 1024² writes 0.4 GB of columns in half
precision and multiplies them in 0.1 TFLOP, so a fused product could at most save writing and reading the
columns.

The kernel is used if it agrees with the plain form on the device, which is tested once per process for each
dtype and number of channels. If it does not, or if Triton or a compiler is missing, a warning is logged and
the plain form is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SCRATCH_BYTES = 64 << 20   # of columns in one run: enough rows to fill a large GPU, within its cache
TILE_BYTES = 8 << 10       # of columns that one program computes, with 72 registers per thread


def deformed_columns(x: Tensor, offset: Tensor, modulation: Tensor, side: int,
                     first_row: int = 0) -> Iterator[Tensor]:
    """Compute the columns of birefnet.network.deform.plain.deformed_columns, each run in a new tensor.

    Args:
        x: [B,C,H,W]; fastest channels-last.
        offset: [B,2k²,h,W] for rows first_row..first_row + h, of any float dtype and strides.
        modulation: [B,k²,h,W] likewise.
        side: k, of the kernel.
        first_row: of the band.
    """
    from .kernel import gather_columns

    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).contiguous()
    taps, band = side**2, offset.shape[2]
    positions = batch * band * width
    padded = 1 << (channels - 1).bit_length()
    block = max(1, TILE_BYTES // (padded * x.element_size()))
    step = max(block, SCRATCH_BYTES // (taps * channels * x.element_size()) // block * block)
    for start in range(0, positions, step):
        stop = min(start + step, positions)
        columns = x.new_empty(stop - start, taps * channels)
        with torch.cuda.device_of(x):
            gather_columns[taps, -(-(stop - start) // block)](
                rows, offset, modulation, columns, start, stop, height, width, band, first_row, side,
                *offset.stride(), *modulation.stride(), CHANNELS=channels, PADDED=padded, BLOCK=block,
                num_warps=4)
        yield columns
