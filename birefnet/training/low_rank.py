"""Low-rank adapters (Hu et al. 2021, "LoRA"): trainable pairs beside a backbone's layers.

Also extracts the trained changes as the tensors of a birefnet.checkpoint.adapters.Adapter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint.adapters import DIFFERENCE, LOW_A, LOW_B, STORED_DTYPE
from ..network.birefnet import BiRefNet


class LowRankLinear(nn.Linear):
    """y = x·Wᵀ + b + (alpha/r)·x·Aᵀ·Bᵀ. Starts as the layer that it replaces, because B is zero."""

    def __init__(self, plain: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None, device="meta")
        self.weight, self.bias, self.scale = plain.weight, plain.bias, alpha / rank
        self.lora_A, self.lora_B = make_pair(plain.weight, rank, generator)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * self.lora_B(self.lora_A(x))


class LowRankConv(nn.Conv2d):
    """LowRankLinear for a 1×1 convolution, which is a linear layer applied to every pixel."""

    def __init__(self, plain: nn.Conv2d, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__(plain.in_channels, plain.out_channels, 1, bias=plain.bias is not None, device="meta")
        self.weight, self.bias, self.scale = plain.weight, plain.bias, alpha / rank
        self.lora_A, self.lora_B = make_pair(plain.weight, rank, generator)

    def forward(self, x: Tensor) -> Tensor:
        down, up = (pair.weight[:, :, None, None] for pair in (self.lora_A, self.lora_B))
        return super().forward(x) + self.scale * F.conv2d(F.conv2d(x, down), up)


def make_pair(weight: Tensor, rank: int, generator: torch.Generator) -> tuple[nn.Linear, nn.Linear]:
    """Make A, drawn uniformly from ±1/√in, and B, all 0, for a weight [out,in,...]."""
    out, channels = weight.shape[:2]
    start = (2 * torch.rand(rank, channels, generator=generator) - 1) * channels**-0.5
    down = nn.Linear(channels, rank, bias=False, device="meta")
    up = nn.Linear(rank, out, bias=False, device="meta")
    down.weight = nn.Parameter(start.to(weight.device))
    up.weight = nn.Parameter(torch.zeros(out, rank, device=weight.device))
    return down, up


def make_low_rank(model: BiRefNet, rank: int, alpha: float, seed: int) -> list[nn.Parameter]:
    """Give every linear layer and 1×1 convolution of the backbone a low-rank pair, in place.

    Args:
        model: in form "plain".
        rank: r, columns of B.
        alpha: the pair's product is scaled by alpha / rank.
        seed: of the values of A.

    Returns:
        The pairs' weights, which are the parameters to train.
    """
    generator = torch.Generator().manual_seed(seed)
    learning = []
    for name, module in list(model.bb.named_modules()):
        if type(module) is nn.Linear:
            replaced = LowRankLinear(module, rank, alpha, generator)
        elif type(module) is nn.Conv2d and is_pointwise(module):
            replaced = LowRankConv(module, rank, alpha, generator)
        else:
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(model.bb.get_submodule(parent), leaf, replaced)
        learning += [replaced.lora_A.weight, replaced.lora_B.weight]
    return learning


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether a convolution is 1×1, with stride 1 and one group."""
    return (conv.kernel_size, conv.stride, conv.groups) == ((1, 1), (1, 1), 1)


def extract_low_rank(model: BiRefNet) -> dict[str, Tensor]:
    """Extract the tensors of an adapter from a model that was trained after `make_low_rank`."""
    return as_stored({name: tensor for name, tensor in model.state_dict().items()
                      if name.endswith((LOW_A, LOW_B))})


def extract_differences(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Extract the tensors of an adapter: the differences between two state dicts, where there are any."""
    changes = {name: after[name] - tensor for name, tensor in before.items()}
    return as_stored({name + DIFFERENCE: change for name, change in changes.items() if change.any()})


def as_stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy to the CPU in the file's dtype, so that an adapter has the same effect before and after saving."""
    return {name: tensor.detach().to("cpu", STORED_DTYPE) for name, tensor in tensors.items()}
