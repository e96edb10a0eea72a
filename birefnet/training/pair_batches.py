"""Make batches from pairs of pictures and masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..data.batches import Item
from ..data.pairs import Pair
from ..data.sample import make_sample
from .plan import TrainingPlan


class PairBatches:
    """Batches of pairs of files: each pair once per epoch, in random order, with random augmentations.

    A batch may contain the end of one epoch and the beginning of the next. Each process makes its part of the
    batch that a single process would make.

    Args:
        pairs: pictures and masks.
        plan: of the run; its seed decides all random numbers.
        backgrounds: pictures that may replace backgrounds.
        rank: of this process.
        processes: number of processes.
    """

    def __init__(self, pairs: Sequence[Pair], plan: TrainingPlan, backgrounds: Sequence[Path] = (),
                 rank: int = 0, processes: int = 1) -> None:
        self.pairs, self.plan, self.backgrounds = pairs, plan, backgrounds
        self.rank, self.count = rank, plan.batch // processes

    def places(self, step: int) -> list[tuple[int, int]]:
        """(epoch, index of the pair) for this process's part of a batch."""
        first = step * self.plan.batch + self.rank * self.count
        places = [divmod(first + i, len(self.pairs)) for i in range(self.count)]
        orders = {epoch: np.random.default_rng([self.plan.seed, 0, epoch]).permutation(len(self.pairs))
                  for epoch, _ in places}
        return [(epoch, int(orders[epoch][place])) for epoch, place in places]

    def item(self, step: int) -> Item:
        """The batch of a step: images uint8 [n,3,h,w] and alphas uint8 [n,1,h,w]."""
        size = self.plan.size_at(step)
        samples = []
        for epoch, index in self.places(step):
            rng = np.random.default_rng([self.plan.seed, 1, epoch, index])
            samples.append(make_sample(self.pairs[index], size, rng, self.plan.augmentations,
                                       self.backgrounds))
        images, alphas = zip(*samples)
        return torch.stack(images), torch.stack(alphas)
