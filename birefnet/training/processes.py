"""One training process or several, started by torchrun or `accelerate launch`."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn


class Processes:
    """A single training process, with the interface of several."""

    def __init__(self) -> None:
        self.rank, self.count = 0, 1
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.wrap: Callable[[nn.Module], nn.Module] | None = None

    def everyone(self, values: list) -> list:
        """Gather lists: return the concatenated lists of all processes, in each of them."""
        return values

    def wait(self) -> None:
        """Wait for all processes."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


class Accelerated(Processes):
    """Several processes, through the package accelerate. Raises ModuleNotFoundError if it is missing."""

    def __init__(self) -> None:
        from accelerate import Accelerator

        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
        self.device, self.wrap = self.accelerator.device, self._wrap
        self.wait = self.accelerator.wait_for_everyone

    def everyone(self, values: list) -> list:
        from accelerate.utils import gather_object

        return gather_object(values)

    def _wrap(self, network: nn.Module) -> nn.Module:
        if self.device.type == "cuda":  # a GPU's part of a batch is too small for batch statistics
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return self.accelerator.prepare(network)


def start_processes() -> Processes:
    """Join the processes of torchrun or `accelerate launch`, by their environment variables; else be the
    single one."""
    return Accelerated() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Processes()
