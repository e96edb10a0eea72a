"""Batches of any source, made ahead by worker processes; a batch depends on its source and step only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Protocol

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

AHEAD = 4  # items per worker that wait to be learnt from

Item = tuple[Tensor, Tensor]  # images uint8 [n,3,h,w] and alphas uint8 [n,1,h,w]


class Source(Protocol):
    """Where a run's pictures come from; asked in worker processes."""

    def item(self, step: int) -> Item:
        """What is learnt from at a step."""


def batches(source: Source, start: int, stop: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images [B,3,h,w] and alphas [B,1,h,w] in 0..1 of steps start..stop − 1; without workers they are made in this
    process."""
    loader = DataLoader(_Items(source, start, stop), batch_size=None, num_workers=workers,
                        prefetch_factor=AHEAD if workers else None, worker_init_fn=_politely)
    for images, alphas in loader:
        yield images.float() / 255, alphas.float() / 255


class _Items(Dataset):
    def __init__(self, source: Source, first: int, stop: int) -> None:
        self.source, self.first, self.stop = source, first, stop

    def __len__(self) -> int:
        return max(0, self.stop - self.first)

    def __getitem__(self, offset: int) -> Item:
        return self.source.item(self.first + offset)


def _politely(worker: int) -> None:
    """Workers give way to the training process, which alone answers to an interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)
