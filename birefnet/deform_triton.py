"""The deformable convolution's gather as a Triton kernel, for CUDA.

`birefnet.deform` makes index lists and hands them to `embedding_bag`; here one kernel goes from offsets to columns:
places, shares and sums stay in registers (float32), channels-last rows are read in whole, and only the columns are
written. The matrix product stays with cuBLAS, over runs of columns that bound the memory. A 7×7 branch at stride 4 of
1024² writes 0.4 GB of columns in half precision and multiplies them in 0.1 TFLOP, so fusing the two could save at most
the way of the columns to memory and back.

The kernel is trusted after it has agreed with the plain form on this very device, once per process; where it does not,
or Triton is missing, or there is no compiler for its launcher, one log line says so and the plain form does the work.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator

import torch
from torch import Tensor

log = logging.getLogger(__name__)

SCRATCH_BYTES = 64 << 20   # of columns in one run: enough rows to fill a large GPU, and no more than its cache
TILE_BYTES = 8 << 10       # of columns that one program computes: 72 registers a thread
ROUNDING = {torch.float32: 1e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}  # relative; one rounding of the result


def usable(x: Tensor) -> bool:
    """Whether the kernel may stand in for the plain form on tensors like x. It has no gradient."""
    return x.dtype in ROUNDING and not torch.is_grad_enabled() and agrees(x.device, x.dtype, x.shape[1])


def deformed_columns(x: Tensor, offset: Tensor, modulation: Tensor, side: int, first_row: int = 0) -> Iterator[Tensor]:
    """As birefnet.deform's: runs of [P,k²·C] columns for the kernel of side k, positions in order.

    x: [B,C,H,W], best channels-last. offset: [B,2k²,h,W], modulation: [B,k²,h,W], any float dtype and strides, for the
    rows first_row..first_row + h. Each run is a tensor of its own.
    """
    from .deform_kernel import gather_columns

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


@functools.cache
def agrees(device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Whether the kernel compiles, runs and gives the plain form's numbers on the device."""
    from . import deform

    try:
        x, offset, modulation = (tensor.to(dtype) for tensor in problem(channels))
        expected = torch.cat(list(deform.deformed_columns(x.float(), offset.float(), modulation.float(), 3)))
        columns = torch.cat(list(deformed_columns(x.to(device), offset.to(device), modulation.to(device), 3)))
        if torch.allclose(columns.cpu().float(), expected, rtol=ROUNDING[dtype], atol=1e-5):
            return True
        reason = f"on {device} in {dtype} it disagrees with the plain form"
    except ImportError:
        reason = "Triton is not installed"
    except Exception as error:  # compilers, drivers and Triton itself fail in many ways, and none may stop a matte
        reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    say(reason)
    return False


@functools.cache
def say(reason: str) -> None:
    """Once per reason."""
    log.warning("the Triton kernel for deformable convolutions is not used (%s); the plain form is slower", reason)


def problem(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two small images and places in, between and far outside their pixels; float32, on the CPU."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, 9, 13, generator=random)
    offset = 4 * torch.randn(2, 18, 9, 13, generator=random)
    return x, offset, 2 * torch.rand(2, 9, 9, 13, generator=random)
