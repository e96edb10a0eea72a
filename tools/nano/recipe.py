"""The default checkpoint's recipe: its build, its plan, and the source of its pictures, composites of `nano`."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from birefnet.data.batches import Item
from birefnet.network.birefnet import BiRefNet
from birefnet.training.plan import Phase, Size, TrainingPlan

from .cache import Pictures
from .composite import pair

METADATA = {"birefnet.name": "birefnet-nano", "birefnet.license": "GPL-3.0"}  # the pictures ask for it: weights/LICENSE
PLAN = TrainingPlan(steps=2400, batch=96, rate=1e-3, warm_up=100, cosine=True, optimizer="muon", final=0.0, dtype="bf16",
            phases=(Phase(0.45, Size.fixed(224, 224)), Phase(0.25, Size.fixed(288, 288)),
                    Phase(0.3, Size.fixed(320, 320))))


class Composites:
    """Batches of composites."""

    def __init__(self, cache: Path, plan: TrainingPlan, rank: int = 0, processes: int = 1) -> None:
        self.cache, self.plan, self.rank = cache, plan, rank
        self.count = plan.batch // processes
        self.opened: Pictures | None = None

    def item(self, step: int) -> Item:
        if self.opened is None:  # in the worker
            self.opened = Pictures(self.cache)
        first = step * self.plan.batch + self.rank * self.count
        side = self.plan.size_at(step)[0]
        images, alphas = zip(*(pair(self.opened, self.plan.seed, first + i, side) for i in range(self.count)))
        return (torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images]),
                torch.stack([torch.from_numpy(alpha)[None] for alpha in alphas]))


def exported(model: BiRefNet) -> BiRefNet:
    """A copy as it is stored: the backbone in numbers that bfloat16 holds too. Most of what a matte in that format strays
    by comes from rounding these; the decoder's are composed with batch norms first, so it gains nothing."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for values in model.bb.parameters():
            values.copy_(values.bfloat16())
    return model
