"""The inference form of the atrous spatial pyramids, by bands of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import ASPP, DeformableASPP
from ..deform import deformed_columns
from ..deform.plain import column_kernel
from ..ops.algebra import folded, merged
from ..ops.bands import by_bands, convolve_rows, rows_of
from ..ops.products import product


def fused_aspp(plain: nn.Module) -> nn.Module:
    if not isinstance(plain, ASPP):
        return Skip()
    return FusedDeformableASPP(plain) if isinstance(plain, DeformableASPP) else FusedASPP(plain)


class Skip(nn.Module):
    frame = 0

    def forward(self, x: Tensor, scratch: int) -> Tensor:
        return x


class FusedASPP(nn.Module):
    """Plain atrous branches; the mixing convolution acts on each, and the sum takes the concatenation's place."""

    frame = 0  # zeros that the input comes with on each side

    def __init__(self, plain: ASPP) -> None:
        super().__init__()
        branches = plain.branches()
        self.branches = nn.ModuleList(folded(branch.atrous_conv, branch.bn) for branch in branches)
        self.pool = folded(plain.global_avg_pool[1], plain.global_avg_pool[2])
        mix = folded(plain.conv1, plain.bn1)
        self.bias = nn.Parameter(mix.bias)
        *parts, of_pool = mix.weight.split(self.pool.out_channels, 1)
        self.mix = nn.ParameterList(part.flatten(1).contiguous() for part in parts)
        self.mix_pool = nn.Parameter(of_pool)

    def forward(self, framed: Tensor, scratch: int) -> Tensor:
        """[B,C,H+2·frame,W+2·frame] → [B,C,H,W], both in channels-last memory."""
        x = framed[:, :, self.frame:framed.shape[2] - self.frame, self.frame:framed.shape[3] - self.frame]
        batch, _, height, width = x.shape
        pooled = F.conv2d(F.relu(self.pool(x.mean((2, 3), keepdim=True))), self.mix_pool, self.bias)
        row_bytes = batch * width * self.channels() * x.element_size()

        def mixed_views(start: int, stop: int) -> Tensor:
            total = None
            for view in self.views(framed, x, start, stop, scratch):
                total = view if total is None else total.add_(view)
            return total.view(batch, stop - start, width, -1).permute(0, 3, 1, 2).add_(pooled).relu_()

        return by_bands(mixed_views, height, row_bytes, scratch)

    def channels(self) -> int:
        """Of temporaries, per position."""
        return 2 * self.branches[0].out_channels + 2 * len(self.bias)

    def views(self, framed: Tensor, x: Tensor, start: int, stop: int, scratch: int) -> Iterator[Tensor]:
        """Every branch's share of rows [start, stop), mixed, as [B·(stop-start)·W,C]."""
        for branch, mix in zip(self.branches, self.mix):
            view = convolve_rows(branch, rows_of(x), x.shape[2], start, stop).relu_()
            yield product(view.permute(0, 2, 3, 1).flatten(0, 2), mix)


class FusedDeformableASPP(FusedASPP):
    """Deformable branches, each mixed down while its columns are at hand."""

    frame = 1  # `deformed_columns` reads there what is outside

    def __init__(self, plain: DeformableASPP) -> None:
        super().__init__(plain)
        convs = [branch.atrous_conv for branch in plain.branches()]
        # `folded` above saw the branch as an ordinary convolution of the deformed samples.
        self.kernels = nn.ParameterList(column_kernel(branch.weight).T.contiguous() for branch in self.branches)
        self.biases = nn.ParameterList(branch.bias for branch in self.branches)
        self.sides = [branch.kernel_size[0] for branch in self.branches]
        del self.branches
        self.places = nn.ModuleDict({str(side): merged([conv for conv, at in zip(convs, self.sides) if at == side])
                                     for side in sorted(set(self.sides))})

    def channels(self) -> int:
        # Offsets and modulations of all branches, and those of one once more, in order and in float32.
        return sum(3 * side**2 for side in self.sides) + 8 * max(self.sides)**2 + 2 * len(self.bias)

    def views(self, framed: Tensor, x: Tensor, start: int, stop: int, scratch: int) -> Iterator[Tensor]:
        places = {}
        for side, kernel, bias, mix in zip(self.sides, self.kernels, self.biases, self.mix):
            taps = side**2
            if side not in places:
                places[side] = list(convolve_rows(self.places[str(side)], rows_of(x), x.shape[2], start, stop)
                                    .split(3 * taps, 1))
            offset, modulation = places[side].pop(0).split([2 * taps, taps], 1)
            runs = deformed_columns(x, offset, 2 * modulation.float().sigmoid_(), side, start,
                                    framed.permute(0, 2, 3, 1).flatten(0, 2), scratch)
            yield torch.cat([product(product(columns, kernel, bias).relu_(), mix) for columns in runs])
