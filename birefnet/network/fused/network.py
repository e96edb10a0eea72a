"""The inference form of birefnet.network.birefnet; its algebra is explained in birefnet.network.fused."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from ..birefnet import BiRefNet
from ..blocks import resize
from ..family import Compose
from ..ops.bands import as_rows, resize_twice
from .decoder import Extent, FusedDecoder, FusedDecoderBlock

CPU_SCRATCH_BYTES = 48 << 20  # reused by the allocator and near the cache; larger measured slower


class FusedBiRefNet(BiRefNet):
    """A network for inference only, see birefnet.network.fused."""

    form = "inference"

    def __init__(self, plain: BiRefNet, compose: Compose) -> None:
        nn.Module.__init__(self)
        self.config = plain.config
        self.bb = self.family.fuse(plain.bb, compose)
        squeeze = plain.squeeze_module[0]
        self.squeeze_module = nn.Sequential(compose([squeeze], lambda: FusedDecoderBlock(squeeze)))
        self.decoder = FusedDecoder(plain.config, plain.decoder, compose)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        scratch = self.scratch(x.device)
        large = self.bb(x, scratch)
        looks = self.config.multi_scale != "none"
        small = self.bb(resize(x, (x.shape[2] // 2, x.shape[3] // 2)), scratch) if looks else []
        x4 = self.context(large, small)
        x4 = self.squeeze_module[0]([as_rows(x4)], Extent(len(x4), x4.shape[2:], x4.dtype), scratch)
        return self.decoder(x, large, small, x4, scratch)

    def context(self, large: list[Tensor], small: list[Tensor]) -> Tensor:
        """The squeeze block's input: all maps in x4's size, concatenated. Pops both lists' fourth maps."""
        size = large[3].shape[2:]
        views = []
        for i, whole in enumerate(large):
            view = resize(whole, size)
            if small:
                half = resize_twice(small[i], whole.shape[2:], size)
                view = torch.cat([view, half], 1) if self.config.multi_scale == "cat" else view + half
            views.append(view)
        del large[3:], small[3:]
        return torch.cat(views, 1)

    def scratch(self, device: torch.device) -> int:
        """Bytes for the temporaries of one step."""
        if self.budget_bytes is not None:
            return self.budget_bytes
        return CPU_SCRATCH_BYTES if device.type == "cpu" else sys.maxsize
