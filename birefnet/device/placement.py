"""Move a network to a device, with the memory layout that suits the device's kernels."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def place(model: Network, device: torch.device | str, dtype: torch.dtype) -> Network:
    """Move a network, in place, and return it.

    On CUDA the weights of its convolutions become channels-last, the order in which tensor cores compute; all
    maps of the network take over this layout.
    """
    model.to(device, dtype)
    if torch.device(device).type == "cuda":
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    return model
