"""Builds of the authors' decoder by encoder name, and the included checkpoint's."""

from __future__ import annotations

from dataclasses import replace

from ..files.errors import CheckpointError
from .backbones import FAMILIES
from .config import Config

# The build of weights/birefnet-nano.safetensors: EfficientNet-Lite2, plain ASPP, residual decoder blocks.
NANO = Config(family="efficientnet_lite", encoder="tf_efficientnet_lite2", widths=(24, 48, 120, 352),
              depths=(4, 3, 8, 6), multi_scale="none", attention="plain", inner=64, branch=48, patch_inner=16,
              residual=True, size=(320, 320), task="Anything: quick cut-outs")

BACKBONES = {name: family for family in FAMILIES.values() for name in family.builds}  # by the encoder's name
TIMM = "timm:"  # prefix of a timm model's name or JSON, see birefnet.network.backbones.timm


def config(backbone: str) -> Config:
    """Return the build with the authors' decoder and an encoder.

    Args:
        backbone: a name of BACKBONES, or "timm:" and a timm model's name or JSON.

    Raises:
        CheckpointError: timm is missing, or has no such encoder.
        KeyError: BACKBONES has no such name.
    """
    if backbone.startswith(TIMM):
        encoder = backbone.removeprefix(TIMM)
        family = next((family for family in FAMILIES.values() if family.recognises({}, encoder)), None)
        if family is None:
            raise CheckpointError(f"Name one of timm's models after {TIMM}, such as {TIMM}convnext_femto")
        return Config(**family.read({}, encoder, None))
    return Config(**BACKBONES[backbone].builds[backbone])


def is_nano(config: Config) -> bool:
    """Whether a build is NANO's; its size, task and supervision may differ."""
    same = {"size": None, "task": "", "supervision": True}
    return replace(config, **same) == replace(NANO, **same)
