"""Builds by their encoders' names."""

from __future__ import annotations

from dataclasses import replace

from .birefnet import BiRefNet
from .config import Config
from .family import FAMILIES

# The build of weights/birefnet-nano.safetensors: PVT v2 b0 with narrower MLPs and four more blocks in its third stage,
# plain ASPP, residual decoder blocks.
NANO = Config(family="pvt_v2", widths=(32, 64, 160, 256), depths=(2, 2, 6, 2), heads=(1, 2, 5, 8),
              multi_scale="none", attention="plain", inner=64, branch=48, patch_inner=16, residual=True,
              size=(320, 320), task="Anything simple: quick cut-outs")

BACKBONES = {name: family for family in FAMILIES.values() for name in family.builds}
TIMM = "timm:"  # before the name of one of timm's models, or before JSON, see birefnet.network.backbones.timm


def config(backbone: str) -> Config:
    """The authors' decoder on an encoder: one of BACKBONES, or "timm:NAME".

    Raises CheckpointError where timm is missing or has no such encoder.
    """
    if backbone.startswith(TIMM):
        encoder = backbone.removeprefix(TIMM)
        family = next(family for family in FAMILIES.values() if family.recognises({}, encoder))
        return Config(**family.read({}, encoder, None))
    return Config(**BACKBONES[backbone].builds[backbone])


def of_this_build(model: BiRefNet) -> bool:
    """Whether a network is NANO's build, whatever size and task it is for."""
    return replace(model.config, size=None, task="") == replace(NANO, size=None, task="")
