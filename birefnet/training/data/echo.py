"""Pictures that are made slower than they are learnt from, learnt from several times (data echoing: Choi et al. 2019).

A batch is `plan.batch / plan.echo` new pictures, as they are, and others of the last POOL steps, each mirrored, moved and
tinted anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..plan import Plan
from .batches import Item, Source, batches, in_unit

POOL = 64  # steps whose pictures are kept, as bytes on the device


def echoed(source: Source, plan: Plan, start: int, workers: int, device: torch.device,
           rank: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Images [B,3,h,w] and alphas [B,1,h,w] in 0..1 on `device`, of the plan's steps from `start` on.

    They depend on source, plan, rank and step only: a run that goes on makes the pictures of the last POOL steps again.
    """
    if plan.echo == 1:
        yield from map(in_unit, batches(source, start, plan.steps, workers, device))
        return
    pool: deque[Item] = deque(maxlen=POOL)
    first = max(0, start - POOL)
    for step, new in enumerate(batches(source, first, plan.steps, workers, device), first):
        if step >= start:
            rng = np.random.default_rng([plan.seed, 3, rank, step])
            old = moved(in_unit(drawn(rng, [*pool, new], len(new[0]) * (plan.echo - 1))), rng)
            yield tuple(map(torch.cat, zip(in_unit(new), old)))
        pool.append(new)


def drawn(rng: np.random.Generator, pool: list[Item], count: int) -> Item:
    """`count` pictures of the last step's size; of the last step itself only where there are no others."""
    pool = [pair for pair in pool if pair[0].shape[2:] == pool[-1][0].shape[2:]]
    pool = pool[:-1] or pool
    each = len(pool[0][0])
    places = rng.choice(len(pool) * each, count, replace=count > len(pool) * each)
    images, alphas = (torch.stack([pool[place // each][part][place % each] for place in places]) for part in (0, 1))
    return images, alphas


def moved(pair: tuple[Tensor, Tensor], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each picture mirrored or not, turned, scaled and shifted a little, what lies beyond the border mirrored in; its image
    in other light."""
    images, alphas = pair
    count = len(images)

    def numbers(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(images.device)

    angle, scale = rng.normal(0, 0.1, count), np.exp(rng.normal(0, 0.12, (count, 2)))
    mirror = rng.choice([-1, 1], count)
    rows = np.stack([np.stack([mirror * scale[:, 0] * np.cos(angle), -scale[:, 0] * np.sin(angle)], 1),
                     np.stack([mirror * scale[:, 1] * np.sin(angle), scale[:, 1] * np.cos(angle)], 1)], 1)
    affine = np.concatenate([rows, rng.normal(0, 0.08, (count, 2, 1))], 2)
    grid = F.affine_grid(numbers(affine), list(alphas.shape), align_corners=False)
    images = F.grid_sample(images, grid, "bicubic", "reflection", align_corners=False).clamp(0, 1)
    alphas = F.grid_sample(alphas, grid, "bilinear", "reflection", align_corners=False)
    gain = np.exp(rng.normal(0, 0.06, (count, 3, 1, 1)) + rng.normal(0, 0.12, (count, 1, 1, 1)))
    gamma = np.exp(rng.normal(0, 0.12, (count, 1, 1, 1)))
    return (images * numbers(gain)).clamp(1e-4, 1) ** numbers(gamma), alphas
