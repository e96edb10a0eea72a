"""Modulated deformable convolution (DCN v2, Zhu et al. 2019) in plain PyTorch: any device, any float dtype, all cores.

Every output position reads each kernel tap at its own fractional place. A bilinear sample is a weighted sum of four
rows of the channels-last input, and modulation only scales those four weights, so all taps of a run of positions are
one weighted gather (`embedding_bag`) that yields the columns of an ordinary matrix product. Runs of positions bound
the memory: a run's columns and gather lists stay within a fixed budget.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...device.compat import weighted_rows

SCRATCH_BYTES = 16 << 20  # on the CPU, where larger runs measured no faster
DEVICE_SCRATCH_BYTES = 128 << 20  # on GPUs, where every run costs launches
EVEN = 16                 # positions, of which a run is a multiple: products of odd sizes may miss the fastest kernels
GATHER_BYTES = 100        # per tap: four rows and shares, and what it takes to find them


def column_kernel(weight: Tensor) -> Tensor:
    """[O,C,k,k] → [k²·C,O], the factor of the columns."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)


def framed(x: Tensor) -> Tensor:
    """[B,C,H,W] → rows [B·(H+2)·(W+2),C]: pixels in a frame of zeros, so that no neighbour has to be told from outside."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).flatten(0, 2)


def deformed_columns(x: Tensor, offset: Tensor, modulation: Tensor, side: int, first_row: int = 0,
                     frame: Tensor | None = None, scratch: int | None = None) -> Iterator[Tensor]:
    """What the kernel of side k is multiplied with, run by run: [P,k²·C] for P positions at a time.

    offset [B,2k²,h,W] and modulation [B,k²,h,W] may be those of a band, rows first_row.. of x [B,C,H,W]; the runs
    together cover its B·h·W positions. frame: framed(x), for callers that need it more than once. scratch: bytes for
    one run; by default what is fastest, and never more.
    """
    frame = framed(x) if frame is None else frame
    channels, taps = x.shape[1], side**2
    offset, modulation = (values.permute(0, 2, 3, 1).flatten(0, 2) for values in (offset, modulation))
    band = (first_row, len(offset) // (len(x) * x.shape[3]), *x.shape[2:])
    fastest = DEVICE_SCRATCH_BYTES if x.device.type in ("cuda", "mps") else SCRATCH_BYTES
    scratch = fastest if scratch is None else min(scratch, fastest)
    step = EVEN * max(1, scratch // (EVEN * taps * (channels * x.element_size() + GATHER_BYTES)))
    for start in range(0, len(offset), step):
        run = slice(start, min(start + step, len(offset)))
        dy, dx = offset[run].float().view(-1, taps, 2).unbind(2)
        index, share = bilinear_rows(dy, dx, modulation[run].float(), run, side, *band)
        yield weighted_rows(frame, index, share.to(x.dtype)).view(-1, taps * channels)


def bilinear_rows(dy: Tensor, dx: Tensor, modulation: Tensor, run: slice, side: int, first_row: int, rows: int,
                  height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows of the framed images, and their shares, that make up each tap's bilinear sample.

    dy, dx, modulation: [P,k²] for the flat positions `run` of rows first_row..first_row + rows of images of height ×
    width. Returns two [P·k²,4]: int32 row numbers of images of (height+2) × (width+2), and float32 shares.
    """
    position = torch.arange(run.start, run.stop, device=dy.device)
    tap = torch.arange(side**2, device=dy.device)
    image, y, x = position // (rows * width), first_row + position // width % rows, position % width
    # One pixel out all is zero, and stays so farther out; the limit also makes wild offsets (and NaN) valid places.
    # Whole numbers first: one rounding, as in torchvision and in the Triton kernel.
    y = (dy + (y[:, None] + (tap // side - side // 2))).nan_to_num(-1.0).clamp(-1.0, height)
    x = (dx + (x[:, None] + (tap % side - side // 2))).nan_to_num(-1.0).clamp(-1.0, width)
    top, left = y.floor().clamp_(max=height - 1), x.floor().clamp_(max=width - 1)
    pitch = width + 2
    first = (top.int() + 1) * pitch + (left.int() + 1) + (image * ((height + 2) * pitch)).int()[:, None]
    index = torch.stack([first, first + 1, first + pitch, first + (pitch + 1)], -1)
    low = modulation * (y - top)
    high = modulation - low
    right = x - left
    share = torch.stack([high - high * right, high * right, low - low * right, low * right], -1)
    return index.view(-1, 4), share.view(-1, 4)
