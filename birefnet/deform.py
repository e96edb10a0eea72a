"""Modulated deformable convolution (DCN v2, Zhu et al. 2019) in plain PyTorch: any device, any float dtype, all cores.

Every output position reads each kernel tap at its own fractional place. A bilinear sample is a weighted sum of four
rows of the channels-last input, and modulation only scales those four weights, so all taps of a run of positions are
one weighted gather (`embedding_bag`) that yields the columns of an ordinary matrix product. Runs of positions bound
the memory: a run's columns and gather lists stay within `SCRATCH_BYTES`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCRATCH_BYTES = 64 << 20
GATHER_BYTES = 128  # per tap: four rows and shares, and what it takes to find them


def deform_conv2d(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """Stride 1, dilation 1, one offset group, padding k//2, zeros outside the image.

    x: [B,C,H,W]. offset: [B,2k²,H,W] in pixels, (dy,dx) per tap, taps row-major. modulation: [B,k²,H,W], the factor of
    each tap. weight: [O,C,k,k]. Returns [B,O,H,W] in x's dtype; places are computed in float32.
    """
    batch, channels, height, width = x.shape
    taps = weight.shape[2] * weight.shape[3]
    rows = x.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    kernel = weight.permute(2, 3, 1, 0).reshape(taps * channels, -1)
    dy, dx = offset.view(batch, taps, 2, -1).permute(2, 0, 3, 1).reshape(2, -1, taps).unbind(0)
    modulation = modulation.reshape(batch, taps, -1).transpose(1, 2).reshape(-1, taps)

    step = max(1, SCRATCH_BYTES // (taps * (channels * x.element_size() + GATHER_BYTES)))
    runs = []
    for start in range(0, rows.shape[0], step):
        run = slice(start, start + step)
        index, share = bilinear_rows(dy[run], dx[run], modulation[run], start, weight.shape[2], height, width)
        columns = weighted_rows(rows, index, share.to(x.dtype))
        runs.append(columns.view(-1, taps * channels) @ kernel)
    out = runs[0] if len(runs) == 1 else torch.cat(runs)
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def weighted_rows(rows: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Σₙ share[i,n]·rows[index[i,n]]: [N,C], [M,4], [M,4] → [M,C]."""
    try:
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=share)
    except NotImplementedError:  # some releases of PyTorch lack it on MPS
        return (rows[index] * share[..., None]).sum(1)


def bilinear_rows(dy: Tensor, dx: Tensor, modulation: Tensor, start: int, side: int, height: int, width: int
                  ) -> tuple[Tensor, Tensor]:
    """Rows of the flattened image, and their shares, that make up each tap's bilinear sample.

    dy, dx, modulation: [P,k²] for the P positions from flat position `start` on. Returns two [P·k²,4]: int32 row
    numbers (inside the image always) and float32 shares (0 where the neighbour lies outside).
    """
    positions, taps = dy.shape
    device = dy.device
    position = torch.arange(start, start + positions, device=device)
    tap = torch.arange(taps, device=device)
    image = position // (height * width)
    y = dy.float() + ((position // width) % height)[:, None] + (tap // side - side // 2)
    x = dx.float() + (position % width)[:, None] + (tap % side - side // 2)
    # Farther out every neighbour is outside anyway; the limit keeps wild offsets (and NaN) valid as integers.
    y = y.nan_to_num(-2.0).clamp(-2.0, height + 1.0)
    x = x.nan_to_num(-2.0).clamp(-2.0, width + 1.0)
    top, left = y.floor(), x.floor()
    index, share = [], []
    for row, row_share in ((top, 1 - (y - top)), (top + 1, y - top)):
        row_share = row_share * modulation.float() * ((row >= 0) & (row < height))
        base = row.clamp(0, height - 1).int() * width + (image * (height * width)).int()[:, None]
        for column, column_share in ((left, 1 - (x - left)), (left + 1, x - left)):
            index.append(base + column.clamp(0, width - 1).int())
            share.append(row_share * column_share * ((column >= 0) & (column < width)))
    return torch.stack(index, -1).view(-1, 4), torch.stack(share, -1).view(-1, 4)
