"""Writes checkpoints with random weights, and counts a build's parameters and operations."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from birefnet import BiRefNet, Config, save
from birefnet.network.builds import config


def random_file(backbone: str, folder: Path) -> Path:
    """Return the file for a checkpoint with random weights on that encoder."""
    return folder / f"{re.sub('[^A-Za-z0-9_]+', '-', backbone)}.safetensors"


def write_random(backbone: str, path: Path) -> None:
    """Write a checkpoint with random weights in which every tensor affects the result.

    Offsets of deformable convolutions are not 0, norms are not the identity, and activations stay in range.
    """
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
    """Count the network's parameters, without the heads that only training uses."""
    with torch.device("meta"):
        model = BiRefNet(dataclasses.replace(config, supervision=False))
    return sum(parameter.numel() for parameter in model.parameters())


def operations(config: Config, size: tuple[int, int]) -> int:
    """Count the floating-point operations of one pass of the plain form at (H, W), on the meta device."""
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        BiRefNet(config).eval()(torch.empty(1, 3, *size))
    return counter.get_total_flops()
