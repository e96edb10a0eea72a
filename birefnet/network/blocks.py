"""The decoder's parts: atrous spatial pyramids (ASPP), the decoder block, and the block for image patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deform import deform_conv2d

if TYPE_CHECKING:
    from .config import Config

PLAIN_ASPP = ((1, 1), (3, 6), (3, 12), (3, 18))  # kernel and dilation of `aspp1..aspp4`


def resize(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Resize [B,C,H,W] bilinearly to (h, w), corners aligned, as everywhere inside the network."""
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=True)


def make_norm(config: Config, channels: int) -> nn.Module:
    """Return a batch norm, or an identity for builds without batch norm."""
    return nn.BatchNorm2d(channels) if config.batch_norm else nn.Identity()


class DecoderBlock(nn.Module):
    """conv 3×3 → BN → ReLU → ASPP → conv 3×3 → BN, without an activation at the end.

    [B,C,H,W] → [B,out,H,W].
    """

    def __init__(self, config: Config, channels: int, out: int, residual: bool = False) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, config.inner, 3, padding=1)
        self.bn_in = make_norm(config, config.inner)
        self.dec_att = {"deformable": DeformableASPP, "plain": PlainASPP, "none": lambda _: nn.Identity()}[
            config.attention](config)
        self.conv_out = nn.Conv2d(config.inner, out, 3, padding=1)
        self.bn_out = make_norm(config, out)
        self.conv_resi = nn.Conv2d(channels, out, 1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.dec_att(F.relu(self.bn_in(self.conv_in(x))))
        y = self.bn_out(self.conv_out(y))
        return y if self.conv_resi is None else y + self.conv_resi(x)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2017): [B,inner,H,W] → the same shape.

    Parallel convolutions of one map and its global mean are concatenated and mixed by a 1×1 convolution. A
    subclass creates its branches, then calls `add_tail`, so that tensors are in the published order.
    """

    def add_tail(self, config: Config, branches: int) -> None:
        """Create the global mean's branch and the mixing convolution for that many branches."""
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(config.inner, config.branch, 1, bias=False),
            make_norm(config, config.branch), nn.ReLU())
        self.conv1 = nn.Conv2d((branches + 1) * config.branch, config.inner, 1, bias=False)
        self.bn1 = make_norm(config, config.inner)
        self.dropout = nn.Dropout(0.5)

    def branches(self) -> list[nn.Module]:
        """Return the parallel convolutions, in the order of their concatenation."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches()]
        outputs.append(self.pooled(x).expand_as(outputs[0]))
        return self.dropout(F.relu(self.bn1(self.conv1(torch.cat(outputs, 1)))))

    def pooled(self, x: Tensor) -> Tensor:
        """Apply the global mean's branch: [B,inner,H,W] → [B,branch,1,1].

        In training, a batch of one is normalised by running statistics: it has one value per channel.
        """
        pool, conv, bn, relu = self.global_avg_pool
        y = conv(pool(x))
        if self.training and len(x) == 1 and isinstance(bn, nn.BatchNorm2d):
            y = F.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)
            return relu(y)
        return relu(bn(y))


class DeformableASPP(ASPP):
    """A deformable 1×1 branch, then one deformable branch for each of the build's kernel sizes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.aspp1 = DeformableBranch(config, 1)
        self.aspp_deforms = nn.ModuleList(DeformableBranch(config, kernel) for kernel in config.kernels)
        self.add_tail(config, 1 + len(config.kernels))

    def branches(self) -> list[nn.Module]:
        return [self.aspp1, *self.aspp_deforms]


class PlainASPP(ASPP):
    """Four atrous convolutions of increasing dilation."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        for i, (kernel, dilation) in enumerate(PLAIN_ASPP, 1):
            conv = nn.Conv2d(config.inner, config.branch, kernel, padding=dilation * (kernel // 2),
                             dilation=dilation, bias=False)
            self.add_module(f"aspp{i}", Branch(config, conv))
        self.add_tail(config, len(PLAIN_ASPP))

    def branches(self) -> list[nn.Module]:
        return [getattr(self, f"aspp{i}") for i in range(1, len(PLAIN_ASPP) + 1)]


class Branch(nn.Module):
    """A convolution of the pyramid, batch norm and ReLU."""

    def __init__(self, config: Config, conv: nn.Module) -> None:
        super().__init__()
        self.atrous_conv = conv
        self.bn = make_norm(config, config.branch)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.atrous_conv(x)))


class DeformableBranch(Branch):
    """A deformable convolution of the pyramid, batch norm and ReLU."""

    def __init__(self, config: Config, kernel: int) -> None:
        super().__init__(config, DeformableConv(config.inner, config.branch, kernel))


class DeformableConv(nn.Module):
    """Deformable convolution; its offsets (pixels) and modulation (0..2) are convolutions of its input."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(channels, 2 * kernel**2, kernel, padding=kernel // 2)
        self.modulator_conv = nn.Conv2d(channels, kernel**2, kernel, padding=kernel // 2)
        self.regular_conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        modulation = 2 * self.modulator_conv(x).float().sigmoid()
        return deform_conv2d(x, self.offset_conv(x).float(), modulation, self.regular_conv.weight)


class PatchBlock(nn.Module):
    """Two 3×3 convolutions of stacked image tiles (the inward reference), with nothing between them."""

    def __init__(self, config: Config, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, config.patch_inner, 3, padding=1)
        self.conv_out = nn.Conv2d(config.patch_inner, out, 3, padding=1)

    def forward(self, patches: Tensor) -> Tensor:
        return self.conv_out(self.conv1(patches))
