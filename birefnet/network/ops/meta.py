"""Networks on the meta device: what a pass would allocate, and what reads what, without computing it."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def sharing_copy(module: nn.Module) -> nn.Module:
    """Another tree of modules that holds the same tensors."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors_of(module)})


def meta_copy(module: nn.Module) -> nn.Module:
    """The same network without values, on the meta device; nothing is copied."""
    return copy.deepcopy(module, {id(tensor): nn.Parameter(tensor.detach().to("meta"), requires_grad=False)
                                  if isinstance(tensor, nn.Parameter) else tensor.to("meta")
                                  for tensor in tensors_of(module)})


def tensors_of(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


class Allocations(TorchDispatchMode):
    """Counts the bytes that are alive on the meta device; `peak` is their largest sum after any operation."""

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
    """Notes which operations read the result of each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []              # so that no two tensors of a pass have one id
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

    def normalised(self, results: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """(weight, running mean) of each convolution whose result a batch norm reads, and nothing else, and which
        is not among the pass's results."""
        pairs, given = [], {id(result) for result in results}
        for key, weight in self.weight_of.items():
            readers = self.readers[key]
            if key not in given and len(readers) == 1 and "batch_norm" in readers[0][0] and id(readers[0][1][0]) == key:
                pairs.append((weight, readers[0][1][3]))
        return pairs
