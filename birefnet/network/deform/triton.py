"""The deformable convolution's gather as a Triton kernel, for CUDA.

`plain` makes index lists and hands them to `embedding_bag`; here one kernel goes from offsets to columns: places,
shares and sums stay in registers (float32), channels-last rows are read in whole, and only the columns are written.
The matrix product stays with cuBLAS, over runs of columns that bound the memory. A 7×7 branch at stride 4 of 1024²
writes 0.4 GB of columns in half precision and multiplies them in 0.1 TFLOP, so fusing the two could save at most the
way of the columns to memory and back.

The package uses the kernel after it has agreed with the plain form on this very device, once per process; where it does
not, or Triton is missing, or there is no compiler for its launcher, one log line says so and the plain form does the work.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SCRATCH_BYTES = 64 << 20   # of columns in one run: enough rows to fill a large GPU, and no more than its cache
TILE_BYTES = 8 << 10       # of columns that one program computes: 72 registers a thread


def deformed_columns(x: Tensor, offset: Tensor, modulation: Tensor, side: int, first_row: int = 0) -> Iterator[Tensor]:
    """As birefnet.network.deform.plain's: runs of [P,k²·C] columns for the kernel of side k, positions in order.

    x: [B,C,H,W], best channels-last. offset: [B,2k²,h,W], modulation: [B,k²,h,W], any float dtype and strides, for the
    rows first_row..first_row + h. Each run is a tensor of its own.
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
                *offset.stride(), *modulation.stride(), CHANNELS=channels, PADDED=padded, BLOCK=block, num_warps=4)
        yield columns


