"""Loads the authors' own network from a checkout of their repository, which is on the import path."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

from birefnet.checkpoint.assemble import REBUILT
from birefnet.checkpoint.source import TensorSource
from birefnet.network.config import Config


def load_authors(
    source: TensorSource, config: Config, device: str, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """Load their `BiRefNet` as a function from images [B,3,H,W] to logits [B,1,H,W].

    Args:
        source: the checkpoint's tensors.
        config: its build.
        device, dtype: where, and in which number format, the network computes.

    Raises:
        ImportError: a package that their code needs is missing.
        ValueError: their code does not have this build.
    """
    if config.patch_order != "colour-slowest":
        raise ValueError("their present code has no colour-fastest patch order")
    build = importlib.import_module("config")
    build.Config = make_config_class(build.Config, config)  # before the modules that read it
    model = importlib.import_module("models.birefnet").BiRefNet(bb_pretrained=False)
    state = {name: source.tensor(name, device, dtype) for name in source.names if not name.endswith(REBUILT)}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError:
        raise ValueError("their code has no build of these widths") from None
    wrong = [name for name in missing if not name.endswith(REBUILT)] + unexpected
    if wrong:
        raise ValueError(f"their code does not know this build: {wrong[0]}")
    model.to(device, dtype).eval()
    return lambda image: model(image)[-1]


def make_config_class(theirs: type, config: Config) -> type:
    """Return a subclass of their Config, whose source code sets the build, with the settings of `config`."""

    class ConfiguredBuild(theirs):
        def __init__(self) -> None:
            super().__init__()
            self.bb = config.backbone
            self.mul_scl_ipt = "" if config.multi_scale == "none" else config.multi_scale
            self.dec_att = {"deformable": "ASPPDeformable", "plain": "ASPP", "none": ""}[config.attention]
            self.dec_blk = "ResBlk" if config.residual else "BasicDecBlk"
            self.squeeze_block = "BasicDecBlk_x1"
            self.batch_size = 2 if config.batch_norm else 1
            self.lateral_channels_in_collection = list(reversed(config.channels))
            self.cxt = list(config.channels[:3])
            self.freeze_bb = self.compile = False

    return ConfiguredBuild
