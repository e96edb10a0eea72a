"""Modulated deformable convolution (DCN v2, Zhu et al. 2019) in plain PyTorch, for any device and dtype.

Each output position samples each kernel tap at its own fractional position. A bilinear sample is a weighted
sum of four rows of the channels-last input, and modulation scales these four weights. So all taps of a run of
positions are one weighted gather (`embedding_bag`), whose result is the columns of a matrix product. Work is
split into runs of positions, to limit memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...device.compat import weighted_rows

SCRATCH_BYTES = 16 << 20          # of a run on the CPU; larger ones measured no faster
DEVICE_SCRATCH_BYTES = 128 << 20  # of a run on GPUs, where each run costs kernel launches
RUN_MULTIPLE = 16                 # positions; products of odd sizes may miss the fastest kernels
TAP_BYTES = 100                   # of temporaries per tap: four indices and weights, and their computation


def column_kernel(weight: Tensor) -> Tensor:
    """Return a weight [O,C,k,k] as the matrix [k²·C,O] that columns are multiplied by."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)


def framed(x: Tensor) -> Tensor:
    """Frame images with zeros, which taps outside read: [B,C,H,W] → rows [B·(H+2)·(W+2),C]."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).flatten(0, 2)


def deformed_columns(x: Tensor, offset: Tensor, modulation: Tensor, side: int, first_row: int = 0,
                     frame: Tensor | None = None, scratch: int | None = None) -> Iterator[Tensor]:
    """Compute the columns of a deformable convolution, run by run.

    Args:
        x: [B,C,H,W].
        offset: [B,2k²,h,W] for rows first_row..first_row + h of x.
        modulation: [B,k²,h,W] for the same rows.
        side: k, of the kernel.
        first_row: of the band.
        frame: framed(x), if the caller has it.
        scratch: bytes for one run; at most, and by default, the device's fastest size.

    Yields:
        [P,k²·C] for P positions at a time, B·h·W in all.
    """
    frame = framed(x) if frame is None else frame
    channels, taps = x.shape[1], side**2
    offset, modulation = (values.permute(0, 2, 3, 1).flatten(0, 2) for values in (offset, modulation))
    band = (first_row, len(offset) // (len(x) * x.shape[3]), *x.shape[2:])
    fastest = DEVICE_SCRATCH_BYTES if x.device.type in ("cuda", "mps") else SCRATCH_BYTES
    scratch = fastest if scratch is None else min(scratch, fastest)
    step = RUN_MULTIPLE * max(1, scratch // (RUN_MULTIPLE * taps * (channels * x.element_size() + TAP_BYTES)))
    for start in range(0, len(offset), step):
        run = slice(start, min(start + step, len(offset)))
        dy, dx = offset[run].float().view(-1, taps, 2).unbind(2)
        index, share = bilinear_rows(dy, dx, modulation[run].float(), run, side, *band)
        yield weighted_rows(frame, index, share.to(x.dtype)).view(-1, taps * channels)


def bilinear_rows(dy: Tensor, dx: Tensor, modulation: Tensor, run: slice, side: int, first_row: int,
                  rows: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Find the four rows of the framed images that each tap's bilinear sample reads, and their weights.

    Args:
        dy, dx, modulation: [P,k²] for the positions of `run`.
        run: flat positions in rows first_row..first_row + rows of images of height × width.
        side: k, of the kernel.

    Returns:
        Row numbers int32 [P·k²,4] in images of (height+2) × (width+2), and weights float32 [P·k²,4].
    """
    position = torch.arange(run.start, run.stop, device=dy.device)
    tap = torch.arange(side**2, device=dy.device)
    image, y, x = position // (rows * width), first_row + position // width % rows, position % width
    # One pixel outside or farther, samples are zero; the limits also make huge offsets and NaN valid
    # positions. Integers are added first, for a single rounding, as in torchvision and in the Triton kernel.
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
