"""The inference form of the atrous spatial pyramids, by bands of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import ASPP, DeformableASPP
from ..deform import deformed_columns
from ..deform.plain import column_kernel
from ..ops.algebra import fold_norm, merge_offset_convolutions
from ..ops.bands import as_rows, compute_by_bands, convolve_rows
from ..ops.products import product


def fuse_aspp(plain: nn.Module) -> nn.Module:
    """Make the inference form of a decoder block's ASPP, or of none."""
    if not isinstance(plain, ASPP):
        return Skip()
    return FusedDeformableASPP(plain) if isinstance(plain, DeformableASPP) else FusedASPP(plain)


class Skip(nn.Module):
    """No ASPP."""

    frame = 0

    def forward(self, x: Tensor, scratch: int) -> Tensor:
        return x


class FusedASPP(nn.Module):
    """An ASPP that applies its mixing convolution to each branch and sums the results."""

    frame = 0  # rows and columns of zeros around the input

    def __init__(self, plain: ASPP) -> None:
        super().__init__()
        branches = plain.branches()
        self.branches = nn.ModuleList(fold_norm(branch.atrous_conv, branch.bn) for branch in branches)
        self.pool = fold_norm(plain.global_avg_pool[1], plain.global_avg_pool[2])
        mix = fold_norm(plain.conv1, plain.bn1)
        self.bias = nn.Parameter(mix.bias)
        *parts, of_pool = mix.weight.split(self.pool.out_channels, 1)
        self.mix = nn.ParameterList(part.flatten(1).contiguous() for part in parts)
        self.mix_pool = nn.Parameter(of_pool)

    def forward(self, framed: Tensor, scratch: int) -> Tensor:
        """[B,C,H+2·frame,W+2·frame] → [B,C,H,W], both channels-last."""
        x = framed[:, :, self.frame:framed.shape[2] - self.frame, self.frame:framed.shape[3] - self.frame]
        batch, _, height, width = x.shape
        pooled = F.conv2d(F.relu(self.pool(x.mean((2, 3), keepdim=True))), self.mix_pool, self.bias)
        row_bytes = batch * width * self.channels() * x.element_size()

        def mix_rows(start: int, stop: int) -> Tensor:
            total = None
            for y in self.outputs(framed, x, start, stop, scratch):
                total = y if total is None else total.add_(y)
            return total.view(batch, stop - start, width, -1).permute(0, 3, 1, 2).add_(pooled).relu_()

        return compute_by_bands(mix_rows, height, row_bytes, scratch)

    def channels(self) -> int:
        """Count the channels of temporaries per position."""
        return 2 * self.branches[0].out_channels + 2 * len(self.bias)

    def outputs(self, framed: Tensor, x: Tensor, start: int, stop: int, scratch: int) -> Iterator[Tensor]:
        """Yield each branch's part of the mixed rows [start, stop): [B·(stop-start)·W,C]."""
        for branch, mix in zip(self.branches, self.mix):
            y = convolve_rows(branch, as_rows(x), x.shape[2], start, stop).relu_()
            yield product(y.permute(0, 2, 3, 1).flatten(0, 2), mix)


class FusedDeformableASPP(FusedASPP):
    """Deformable branches; each run of columns is multiplied and mixed before the next is computed."""

    frame = 1  # read by `deformed_columns` for positions outside

    def __init__(self, plain: DeformableASPP) -> None:
        super().__init__(plain)
        convs = [branch.atrous_conv for branch in plain.branches()]
        # super() folded each branch as an ordinary convolution, whose weights multiply the deformed samples.
        self.kernels = nn.ParameterList(column_kernel(branch.weight).T.contiguous()
                                        for branch in self.branches)
        self.biases = nn.ParameterList(branch.bias for branch in self.branches)
        self.sides = [branch.kernel_size[0] for branch in self.branches]
        del self.branches
        self.offset_convs = nn.ModuleDict()  # convolutions of offsets and modulations, by kernel size
        for side in sorted(set(self.sides)):
            group = [conv for conv, of_side in zip(convs, self.sides) if of_side == side]
            self.offset_convs[str(side)] = merge_offset_convolutions(group)

    def channels(self) -> int:
        # Offsets and modulations of all branches, and a float32 copy of one branch's.
        return sum(3 * side**2 for side in self.sides) + 8 * max(self.sides)**2 + 2 * len(self.bias)

    def outputs(self, framed: Tensor, x: Tensor, start: int, stop: int, scratch: int) -> Iterator[Tensor]:
        pending = {}  # kernel size → offsets and modulations of the branches that are still to come
        for side, kernel, bias, mix in zip(self.sides, self.kernels, self.biases, self.mix):
            taps = side**2
            if side not in pending:
                merged = convolve_rows(self.offset_convs[str(side)], as_rows(x), x.shape[2], start, stop)
                pending[side] = list(merged.split(3 * taps, 1))
            offset, modulation = pending[side].pop(0).split([2 * taps, taps], 1)
            runs = deformed_columns(x, offset, 2 * modulation.float().sigmoid_(), side, start,
                                    framed.permute(0, 2, 3, 1).flatten(0, 2), scratch)
            yield torch.cat([product(product(columns, kernel, bias).relu_(), mix) for columns in runs])
