"""The default checkpoint's recipe: its build, its plan, and the source of its pictures, composites of `nano`."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..config import Config
from ..network import BiRefNet
from .data.batches import Item
from .nano.cache import Pictures
from .nano.composite import pair
from .plan import Phase, Plan, Size

# The build of weights/birefnet-nano.safetensors: PVT v2 b0 with narrower MLPs and four more blocks in its third stage,
# plain ASPP, residual decoder blocks.
NANO = Config(family="pvt_v2", widths=(32, 64, 160, 256), depths=(2, 2, 6, 2), heads=(1, 2, 5, 8),
              multi_scale="none", attention="plain", inner=64, branch=48, patch_inner=16, residual=True,
              size=(320, 320), task="Anything simple: quick cut-outs")
METADATA = {"birefnet.name": "birefnet-nano", "birefnet.license": "GPL-3.0"}  # the pictures ask for it: weights/LICENSE
PLAN = Plan(steps=2400, batch=96, rate=1e-3, warm_up=100, cosine=True, optimizer="muon", final=0.0, dtype="bf16",
            phases=(Phase(0.45, Size.fixed(224, 224)), Phase(0.25, Size.fixed(288, 288)),
                    Phase(0.3, Size.fixed(320, 320))))


class Composites:
    """Batches of composites."""

    def __init__(self, cache: Path, plan: Plan, rank: int = 0, processes: int = 1) -> None:
        self.cache, self.plan, self.rank = cache, plan, rank
        self.count = plan.new // processes
        self.opened: dict[Path, Pictures] = {}

    def item(self, step: int) -> Item:
        phase = self.plan.phase_at(step)
        cache = phase.pictures or self.cache
        if cache not in self.opened:  # in the worker
            self.opened[cache] = Pictures(cache)
        first = step * self.plan.new + self.rank * self.count
        side = self.plan.size_at(step)[0]
        images, alphas = zip(*(pair(self.opened[cache], self.plan.seed, first + i, side) for i in range(self.count)))
        return (torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images]),
                torch.stack([torch.from_numpy(alpha)[None] for alpha in alphas]))


def of_this_build(model: BiRefNet) -> bool:
    """Whether a network is NANO's build, whatever size and task it is for."""
    return replace(model.config, size=None, task="") == replace(NANO, size=None, task="")


def without_dropout(model: BiRefNet) -> BiRefNet:
    """The authors' 0.5 blurs what a network this small draws."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def exported(model: BiRefNet) -> BiRefNet:
    """A copy as it is stored: the backbone in numbers that bfloat16 holds too. Most of what a matte in that format strays
    by comes from rounding these; the decoder's are composed with batch norms first, so it gains nothing."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for values in model.bb.parameters():
            values.copy_(values.bfloat16())
    return model
