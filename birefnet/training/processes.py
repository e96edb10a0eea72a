"""One process or several, as torchrun or `accelerate launch` started them, through accelerate."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn


class Processes:
    """This process among those that train together, and what they do together. A single one needs no
    package."""

    def __init__(self) -> None:
        self.rank, self.count = 0, 1
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.wrap: Callable[[nn.Module], nn.Module] | None = None

    def everyone(self, values: list) -> list:
        """The lists of all processes, concatenated, in each of them."""
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


class Accelerated(Processes):
    """Several processes. Raises ModuleNotFoundError where accelerate is missing."""

    def __init__(self) -> None:
        from accelerate import Accelerator

        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
        self.device, self.wrap = self.accelerator.device, self._spread
        self.wait = self.accelerator.wait_for_everyone

    def everyone(self, values: list) -> list:
        from accelerate.utils import gather_object

        return gather_object(values)

    def _spread(self, network: nn.Module) -> nn.Module:
        if self.device.type == "cuda":  # a GPU's part of a batch is too small for statistics of its own
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return self.accelerator.prepare(network)


def start_processes() -> Processes:
    """One of several processes where the environment says so, as torchrun and `accelerate launch` set it."""
    return Accelerated() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Processes()
