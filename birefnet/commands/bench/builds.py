"""The authors' builds by their backbones' names: with random weights, where no checkpoint is at hand."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ... import BiRefNet, Config, save
from ...config import KNOWN_BACKBONES
from ...detect import PVT_HEADS

BACKBONES = {name: key for key, name in KNOWN_BACKBONES.items()}


def config(backbone: str) -> Config:
    """The authors' build on a backbone, by its name."""
    family, widths, depths = BACKBONES[backbone]
    if family == "pvt_v2":
        ratios = (4, 4, 4, 4) if backbone == "pvt_v2_b5" else (8, 8, 4, 4)
        return Config(family, widths, depths, PVT_HEADS, mlp_ratios=ratios)
    window = 12 if backbone in ("swin_v1_b", "swin_v1_l") else 7
    return Config(family, widths, depths, tuple(width // 32 for width in widths), window=window)


def write_random(backbone: str, path: Path) -> None:
    """A checkpoint of random weights in which every tensor matters: the deformable convolutions deform, norms are not
    the identity, activations stay in range."""
    torch.manual_seed(0)
    model = BiRefNet(config(backbone)).initialize()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("offset_conv.bias"):
                tensor.normal_(std=2)  # pixels
            elif name.endswith(("modulator_conv.bias", "bias")):
                tensor.normal_(std=0.1)
        for name, tensor in model.named_buffers():
            if name.endswith("running_mean"):
                tensor.normal_(std=0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    save(model, path)


def operations(config: Config, size: tuple[int, int]) -> int:
    """Floating-point operations of one pass of the plain form at (H, W), counted without computing anything."""
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        BiRefNet(config).eval()(torch.empty(1, 3, *size))
    return counter.get_total_flops()
