"""Allocations that fail: PyTorch's operators run out of memory at the k-th one, or from the k-th on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What allocators raise: of a device, of PyTorch on the processor, of oneDNN, of Python and NumPy.
ERRORS = (
    lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                         "memory: you tried to allocate 4915200 bytes. Error code 12 (Cannot allocate "
                         "memory)"),
    lambda: RuntimeError("could not create a primitive"),
    MemoryError,
)


class Starved(TorchDispatchMode):
    """Counts the operators that allocate; the `at`-th fails, and all that follow it where `lasting`. at 0:
    none."""

    def __init__(self, at: int = 0, lasting: bool = False) -> None:
        super().__init__()
        self.at, self.lasting, self.count = at, lasting, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        known = {places(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and not leaf.is_meta]
        if any(places(leaf) not in known for leaf in made):
            self.count += 1
            if self.count == self.at or self.lasting and self.count > self.at > 0:
                raise ERRORS[self.at % len(ERRORS)]()
        return result


def places(tensor: Tensor) -> int:
    """What tells one piece of memory from another."""
    return tensor.untyped_storage()._cdata


def steps(total: int, tries: int) -> range:
    """At most `tries` of the allocations 1..total, evenly spread."""
    stride = -(-total // tries)
    return range(1 + total % stride, total + 1, stride)
