"""Checkpoints of random weights, where none is at hand, and how much a build computes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from birefnet import BiRefNet, Config, save
from birefnet.network.builds import config


def random_file(backbone: str, folder: Path) -> Path:
    """Where the checkpoint of random weights on that encoder is, or will be."""
    return folder / f"{re.sub('[^A-Za-z0-9_]+', '-', backbone)}.safetensors"


def write_random(backbone: str, path: Path) -> None:
    """A checkpoint of random weights in which every tensor matters: the deformable convolutions deform, norms
    are not the identity, activations stay in range."""
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


def parameters(config: Config) -> int:
    """Of the network that runs, without the heads that only training uses."""
    with torch.device("meta"):
        model = BiRefNet(dataclasses.replace(config, supervision=False))
    return sum(parameter.numel() for parameter in model.parameters())


def operations(config: Config, size: tuple[int, int]) -> int:
    """Floating-point operations of one pass of the plain form at (H, W), counted without computing
    anything."""
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        BiRefNet(config).eval()(torch.empty(1, 3, *size))
    return counter.get_total_flops()
