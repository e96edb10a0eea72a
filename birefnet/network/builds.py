"""The authors' builds by their backbones' names."""

from __future__ import annotations

from dataclasses import replace

from .birefnet import BiRefNet
from .config import KNOWN_BACKBONES, PVT_HEADS, Config

# The build of weights/birefnet-nano.safetensors: PVT v2 b0 with narrower MLPs and four more blocks in its third stage,
# plain ASPP, residual decoder blocks.
NANO = Config(family="pvt_v2", widths=(32, 64, 160, 256), depths=(2, 2, 6, 2), heads=(1, 2, 5, 8),
              multi_scale="none", attention="plain", inner=64, branch=48, patch_inner=16, residual=True,
              size=(320, 320), task="Anything simple: quick cut-outs")

BACKBONES = {name: key for key, name in KNOWN_BACKBONES.items()}


def config(backbone: str) -> Config:
    """The authors' build on a backbone, one of BACKBONES."""
    family, widths, depths = BACKBONES[backbone]
    if family == "pvt_v2":
        ratios = (4, 4, 4, 4) if backbone == "pvt_v2_b5" else (8, 8, 4, 4)
        return Config(family, widths, depths, PVT_HEADS, mlp_ratios=ratios)
    window = 12 if backbone in ("swin_v1_b", "swin_v1_l") else 7
    return Config(family, widths, depths, tuple(width // 32 for width in widths), window=window)


def of_this_build(model: BiRefNet) -> bool:
    """Whether a network is NANO's build, whatever size and task it is for."""
    return replace(model.config, size=None, task="") == replace(NANO, size=None, task="")
