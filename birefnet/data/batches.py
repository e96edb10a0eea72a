"""Batches of any source, made ahead by worker processes; a batch depends on its source and step only."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

AHEAD = 4  # items per worker that wait to be learnt from

Item = tuple[Tensor, Tensor]  # images uint8 [n,3,h,w] and alphas uint8 [n,1,h,w]


class Source(Protocol):
    """Where a run's pictures come from; asked in worker processes."""

    def item(self, step: int) -> Item:
        """What is learnt from at a step."""


def batches(source: Source, start: int, stop: int, workers: int,
            device: str | torch.device = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
    """Images [B,3,h,w] and alphas [B,1,h,w], uint8, on `device`, of steps start..stop − 1; without workers they are made in
    this process."""
    loader = DataLoader(_Items(source, start, stop), batch_size=None, num_workers=workers,
                        prefetch_factor=AHEAD if workers else None, worker_init_fn=_begin,
                        pin_memory=torch.device(device).type == "cuda")
    for images, alphas in loader:
        yield images.to(device, non_blocking=True), alphas.to(device, non_blocking=True)


def in_unit(pair: Item) -> tuple[Tensor, Tensor]:
    """uint8 images and alphas as float32 in 0..1."""
    images, alphas = pair
    return images.float() / 255, alphas.float() / 255


class _Items(Dataset):
    def __init__(self, source: Source, first: int, stop: int) -> None:
        self.source, self.first, self.stop = source, first, stop

    def __len__(self) -> int:
        return max(0, self.stop - self.first)

    def __getitem__(self, offset: int) -> Item:
        return self.source.item(self.first + offset)


def _begin(worker: int) -> None:
    """Workers give way to the training process, which alone answers to an interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)
    keep_memory()


def keep_memory() -> None:
    """Pictures' arrays from memory this process has, instead of fresh pages from the system for each: glibc's allocator
    takes those for all that is larger than 128 KiB, which costs composites a fifth of their time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, from where on: the most it takes
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD, when memory is given back
