"""Traces networks on the meta device: what a pass allocates, and what reads each convolution."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def copy_modules(module: nn.Module) -> nn.Module:
    """Copy modules, but share their tensors."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in list_tensors(module)})


def copy_to_meta(module: nn.Module) -> nn.Module:
    """Copy a network to the meta device, without values."""
    return copy.deepcopy(module, {id(tensor): nn.Parameter(tensor.detach().to("meta"), requires_grad=False)
                                  if isinstance(tensor, nn.Parameter) else tensor.to("meta")
                                  for tensor in list_tensors(module)})


def list_tensors(module: nn.Module) -> list[Tensor]:
    """Return all parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


class Allocations(TorchDispatchMode):
    """Counts the bytes of live tensors on the meta device; `peak` is their maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                storage = tensor.untyped_storage()
                ref = StorageWeakRef(storage)
                self.alive[ref.cdata] = (ref, storage.nbytes())
        if sum(size for _, size in self.alive.values()) > self.peak:
            self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
            self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return out


class Consumers(TorchDispatchMode):
    """Records which operations read each convolution's result."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []              # keeps ids unique during a pass
        self.weight_of: dict[int, Tensor] = {}    # id of a convolution's result → its weight
        self.readers: dict[int, list[tuple[str, tuple]]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and id(tensor) in self.weight_of:
                self.readers[id(tensor)].append((name, args))
        if name == "convolution":
            self.weight_of[id(out)] = args[1]
            self.readers[id(out)] = []
        self.kept += [tensor for tensor in tree_leaves((args, kwargs, out)) if isinstance(tensor, Tensor)]
        return out

    def find_normalized(self, results: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Find (weight, running mean) where only a batch norm reads a convolution. results: of the pass."""
        pairs, returned = [], {id(result) for result in results}
        for key, weight in self.weight_of.items():
            if key in returned or len(self.readers[key]) != 1:
                continue
            name, arguments = self.readers[key][0]
            if "batch_norm" in name and id(arguments[0]) == key:
                pairs.append((weight, arguments[3]))
        return pairs
