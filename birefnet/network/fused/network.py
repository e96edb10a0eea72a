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

CPU_SCRATCH_BYTES = 48 << 20  # of a step's temporaries: near the cache, reused; larger ones measured slower


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
        two_scales = self.config.multi_scale != "none"
        small = self.bb(resize(x, (x.shape[2] // 2, x.shape[3] // 2)), scratch) if two_scales else []
        x4 = self.context(large, small)
        x4 = self.squeeze_module[0]([as_rows(x4)], Extent(len(x4), x4.shape[2:], x4.dtype), scratch)
        return self.decoder(x, large, small, x4, scratch)

    def context(self, large: list[Tensor], small: list[Tensor]) -> Tensor:
        """Concatenate all maps at x4's size for the squeeze block, and pop both lists' fourth maps."""
        size = large[3].shape[2:]
        maps = []
        for i, whole in enumerate(large):
            resized = resize(whole, size)
            if small:
                half = resize_twice(small[i], whole.shape[2:], size)
                cat = self.config.multi_scale == "cat"
                resized = torch.cat([resized, half], 1) if cat else resized + half
            maps.append(resized)
        del large[3:], small[3:]
        return torch.cat(maps, 1)

    def scratch(self, device: torch.device) -> int:
        """Return the bytes for the temporaries of one step."""
        if self.budget_bytes is not None:
            return self.budget_bytes
        return CPU_SCRATCH_BYTES if device.type == "cpu" else sys.maxsize
