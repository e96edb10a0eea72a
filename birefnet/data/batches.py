"""Load batches of any source in worker processes; a batch depends only on its source and step."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..device.memory import keep_heap

PREFETCHED_ITEMS = 4  # per worker

Item = tuple[Tensor, Tensor]  # images uint8 [n,3,h,w] and alphas uint8 [n,1,h,w]


class BatchSource(Protocol):
    """The source of a run's batches; called in worker processes."""

    def item(self, step: int) -> Item:
        """The batch of a step: images uint8 [n,3,h,w] and alphas uint8 [n,1,h,w]."""


def load_batches(source: BatchSource, start: int, stop: int, workers: int,
                 device: str | torch.device = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
    """Load the batches of steps start .. stop - 1 in order.

    Args:
        source: makes the batches.
        start, stop: steps.
        workers: processes that prefetch; 0 makes batches in this process.
        device: to which the batches are copied.

    Yields:
        Images uint8 [B,3,h,w] and alphas uint8 [B,1,h,w] on `device`.
    """
    loader = DataLoader(_Items(source, start, stop), batch_size=None, num_workers=workers,
                        prefetch_factor=PREFETCHED_ITEMS if workers else None, worker_init_fn=_set_up_worker,
                        pin_memory=torch.device(device).type == "cuda")
    for images, alphas in loader:
        yield images.to(device, non_blocking=True), alphas.to(device, non_blocking=True)


def to_unit_range(pair: Item) -> tuple[Tensor, Tensor]:
    """Convert uint8 images and alphas to float32 in 0..1."""
    images, alphas = pair
    return images.float() / 255, alphas.float() / 255


class _Items(Dataset):
    """The items of steps first .. stop - 1, for a DataLoader."""

    def __init__(self, source: BatchSource, first: int, stop: int) -> None:
        self.source, self.first, self.stop = source, first, stop

    def __len__(self) -> int:
        return max(0, self.stop - self.first)

    def __getitem__(self, offset: int) -> Item:
        return self.source.item(self.first + offset)


def _set_up_worker(worker: int) -> None:
    """Set up a worker: lower its priority, and ignore interrupts, which the training process handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)
    keep_heap()
