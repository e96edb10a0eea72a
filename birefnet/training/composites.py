"""The default checkpoint's recipe: its build, its plan, and the source of its pictures, composites of `nano`."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import Config
from ..network import BiRefNet
from .data.batches import Item
from .nano.cache import Pictures
from .nano.composite import pair
from .plan import Phase, Plan, Size

# The build of weights/birefnet-nano.safetensors: PVT v2 b0 with narrower MLPs, plain ASPP, residual decoder blocks.
NANO = Config(family="pvt_v2", widths=(32, 64, 160, 256), depths=(2, 2, 2, 2), heads=(1, 2, 5, 8),
              multi_scale="none", attention="plain", inner=64, branch=48, patch_inner=16, residual=True,
              size=(384, 384), task="Anything simple: quick cut-outs")
METADATA = {"birefnet.name": "birefnet-nano", "birefnet.license": "GPL-3.0"}  # the pictures ask for it: weights/LICENSE
GAIN = 1.5         # of exported logits: after so short a training they are timid; 2 costs bfloat16 its precision
PLAN = Plan(steps=2800, batch=8, rate=1e-3, warm_up=150, cosine=True, final=0.0, dtype="bf16",
            phases=(Phase(0.5, Size.fixed(160, 160)), Phase(0.47, Size.fixed(256, 256)),
                    Phase(0.03, Size.fixed(320, 320))))


class Composites:
    """Batches of composites; half of each is new.

    Making a composite costs about as much as learning from it, so every one is used twice: in the step that it is new
    in, and mirrored with other colours in the next.
    """

    reach = 1

    def __init__(self, cache: Path, plan: Plan, rank: int = 0, processes: int = 1) -> None:
        self.cache, self.plan, self.rank = cache, plan, rank
        self.count = plan.batch // processes // 2
        self.opened: dict[Path, Pictures] = {}

    def item(self, step: int) -> Item:
        phase = self.plan.phase_at(step)
        cache = phase.pictures or self.cache
        if cache not in self.opened:  # in the worker
            self.opened[cache] = Pictures(cache)
        first = step * (self.plan.batch // 2) + self.rank * self.count
        side = self.plan.size_at(step)[0]
        images, alphas = zip(*(pair(self.opened[cache], self.plan.seed, first + i, side) for i in range(self.count)))
        return (torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images]),
                torch.stack([torch.from_numpy(alpha)[None] for alpha in alphas]))

    def batch(self, step: int, items: list[Item]) -> tuple[Tensor, Tensor]:
        *before, fresh = [(images.float() / 255, alphas.float() / 255) for images, alphas in items]
        if not before or before[0][0].shape != fresh[0].shape:  # the first step, and where the size changes
            return fresh
        again = mirrored(*before[0], self.plan.seed * 1_000_003 + step + 7_000_003 * self.rank)
        return torch.cat([fresh[0], again[0]]), torch.cat([fresh[1], again[1]])


def mirrored(images: Tensor, alphas: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Left for right, each image's colours multiplied by gains near 1."""
    gains = 1 + 0.15 * torch.randn(len(images), 3, 1, 1, generator=torch.Generator().manual_seed(seed))
    return (images.flip(3) * gains).clamp(0, 1), alphas.flip(3)


def of_this_build(model: BiRefNet) -> bool:
    """Whether a network is NANO's build, whatever size and task it is for."""
    return replace(model.config, size=None, task="") == replace(NANO, size=None, task="")


def without_dropout(model: BiRefNet) -> BiRefNet:
    """The authors' 0.5 blurs what a network this small draws."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def surer(model: BiRefNet) -> BiRefNet:
    """A copy whose logits are GAIN times as large: the same outline at 0.5, with less haze on either side."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for values in model.decoder.conv_out1.parameters():
            values *= GAIN
    return model
