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

SCRATCH_BYTES = 16 << 20  # on the CPU, where larger runs measured no faster
DEVICE_SCRATCH_BYTES = 128 << 20  # elsewhere, where every run costs launches
GATHER_BYTES = 100        # per tap: four rows and shares, and what it takes to find them


def deform_conv2d(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """Stride 1, dilation 1, one offset group, padding k//2, zeros outside the image.

    x: [B,C,H,W]. offset: [B,2k²,H,W] in pixels, (dy,dx) per tap, taps row-major. modulation: [B,k²,H,W], the factor of
    each tap. weight: [O,C,k,k]. Returns [B,O,H,W] in x's dtype; places are computed in float32.
    """
    batch, _, height, width = x.shape
    kernel = column_kernel(weight)
    out = torch.cat([columns @ kernel for columns in deformed_columns(x, offset, modulation, weight.shape[2])])
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def column_kernel(weight: Tensor) -> Tensor:
    """[O,C,k,k] → [k²·C,O], the factor of the columns."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)


def deformed_columns(x: Tensor, offset: Tensor, modulation: Tensor, side: int) -> Iterator[Tensor]:
    """What the kernel of side k is multiplied with, run by run: [P,k²·C] for P positions of B·H·W at a time."""
    batch, channels, height, width = x.shape
    taps = side**2
    # A frame of zeros around the image, so that no neighbour has to be told from outside.
    rows = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).reshape(-1, channels)
    dy, dx = offset.float().reshape(batch, taps, 2, -1).permute(2, 0, 3, 1).contiguous().view(2, -1, taps).unbind(0)
    modulation = modulation.float().reshape(batch, taps, -1).transpose(1, 2).contiguous().view(-1, taps)
    positions = batch * height * width
    scratch = SCRATCH_BYTES if x.device.type == "cpu" else DEVICE_SCRATCH_BYTES
    step = max(1, scratch // (taps * (channels * x.element_size() + GATHER_BYTES)))
    for start in range(0, positions, step):
        run = slice(start, min(start + step, positions))
        index, share = bilinear_rows(dy[run], dx[run], modulation[run], run, side, height, width)
        yield weighted_rows(rows, index, share.to(x.dtype)).view(-1, taps * channels)


def weighted_rows(rows: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Σₙ share[i,n]·rows[index[i,n]]: [N,C], [M,4], [M,4] → [M,C]."""
    try:
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=share)
    except NotImplementedError:  # some releases of PyTorch lack it on MPS
        return (rows[index] * share[..., None]).sum(1)


def bilinear_rows(dy: Tensor, dx: Tensor, modulation: Tensor, run: slice, side: int, height: int, width: int
                  ) -> tuple[Tensor, Tensor]:
    """Rows of the framed, flattened images, and their shares, that make up each tap's bilinear sample.

    dy, dx, modulation: [P,k²] for the flat positions `run` of images of height × width. Returns two [P·k²,4]: int32 row
    numbers of images of (height+2) × (width+2), and float32 shares.
    """
    position = torch.arange(run.start, run.stop, device=dy.device)
    tap = torch.arange(side**2, device=dy.device)
    image, y, x = position // (height * width), position // width % height, position % width
    # One pixel out all is zero, and stays so farther out; the limit also makes wild offsets (and NaN) valid places.
    y = (dy + y[:, None] + (tap // side - side // 2)).nan_to_num(-1.0).clamp(-1.0, height)
    x = (dx + x[:, None] + (tap % side - side // 2)).nan_to_num(-1.0).clamp(-1.0, width)
    top, left = y.floor().clamp_(max=height - 1), x.floor().clamp_(max=width - 1)
    pitch = width + 2
    first = (top.int() + 1) * pitch + (left.int() + 1) + (image * ((height + 2) * pitch)).int()[:, None]
    index = first[..., None] + torch.tensor([0, 1, pitch, pitch + 1], dtype=torch.int32, device=dy.device)
    low = modulation * (y - top)
    high = modulation - low
    right = x - left
    share = torch.stack([high - high * right, high * right, low - low * right, low * right], -1)
    return index.view(-1, 4), share.view(-1, 4)
