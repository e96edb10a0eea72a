"""CUDA graphs: a network's pass, recorded once and replayed without the processor launching its thousand kernels.

On fast GPUs a pass is over sooner than Python can launch it. A recorded pass has no launches left, at no compile time
(torch.compile would take minutes for these networks, anew for each size, and a compiler that many machines lack). The
price is memory: a recording keeps the activations' room to itself until it is dropped.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

log = logging.getLogger(__name__)


@dataclass
class Recording:
    """A recorded pass: what it was recorded for, where it reads and where it leaves the logits."""

    key: tuple
    weights: list[tuple[dict, str, int]]  # where each tensor of the network hangs, and the address that was recorded
    tables: list[Tensor]                  # other tensors that it reads; kept, for a cache may let go of them
    graph: torch.cuda.CUDAGraph
    image: Tensor
    logits: Tensor

    def valid(self) -> bool:
        """Whether the network's tensors are still where the recording will read them."""
        return all((tensor := holder.get(name)) is not None and tensor.data_ptr() == address
                   for holder, name, address in self.weights)

    def replay(self, x: Tensor) -> Tensor:
        self.image.copy_(x)
        self.graph.replay()
        return self.logits.clone()


class Graphs:
    """Stands between a caller and a network: `graphs(model, x)` gives what `model(x)` gives, under inference_mode.

    The first pass of a shape runs as usual; with the second in a row it is recorded, and replayed from then on. One
    recording is kept. Where the network's weights have moved it is dropped; where recording fails, one log line says so
    and all passes run as usual, but for want of memory it is tried again later. Off CUDA nothing is ever recorded. Threads
    take turns; they must share a stream, as they do unless told otherwise.
    """

    def __init__(self) -> None:
        self.recording: Recording | None = None
        self.last: tuple | None = None
        self.failed = False
        self.lock = threading.RLock()  # a recording has one place to read from and one to write to

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        if self.failed or not x.is_cuda or not torch.is_inference_mode_enabled():
            return model(x)
        with self.lock:
            return self.recorded(model, x)

    def recorded(self, model: nn.Module, x: Tensor) -> Tensor:
        if self.recording is not None and not self.recording.valid():
            self.drop()
        key = (x.shape, x.dtype, x.device, x.stride(), model.budget_bytes)
        if self.recording is not None and self.recording.key == key:
            return self.recording.replay(x)
        if key != self.last:
            self.last = key
            return model(x)
        self.drop()
        self.last = key
        stream = torch.cuda.current_stream(x.device)
        try:
            self.recording = record(model, x, key)
        except RuntimeError as error:
            torch.cuda.set_stream(stream)  # a recording that breaks off leaves its own stream the current one
            revive_random_numbers(x.device)
            if isinstance(error, torch.cuda.OutOfMemoryError):
                self.last = None  # there may be more memory for a later pass
            else:
                self.failed = True
                log.warning("CUDA graphs are off: this network's pass could not be recorded (%s)",
                            (str(error).strip() or type(error).__name__).splitlines()[0])
        # Outside `except`: the error's traceback holds the activations of the pass that broke off.
        return model(x) if self.recording is None else self.recording.replay(x)

    def __deepcopy__(self, memo: dict) -> Graphs:
        return Graphs()  # a recording reads the weights of its own network

    def drop(self) -> None:
        """Give a recording's memory back."""
        with self.lock:
            if self.recording is not None:
                torch.cuda.synchronize(self.recording.image.device)  # it may still be running
            self.recording = self.last = None


class Reads(TorchDispatchMode):
    """Notes the tensors that a pass reads and did not make."""

    def __init__(self) -> None:
        super().__init__()
        self.made: set[int] = set()
        self.found: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and address(leaf) not in self.made:
                self.found[address(leaf)] = leaf
        result = func(*args, **(kwargs or {}))
        self.made.update(address(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def held_by(model: nn.Module) -> list[tuple[dict, str, int]]:
    """Parameters and buffers: where each hangs, and its address."""
    return [(holder, name, tensor.data_ptr()) for module in model.modules()
            for holder in (module._parameters, module._buffers) for name, tensor in holder.items()
            if tensor is not None]


def tables_of(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What a pass reads beside its image, its weights and what it computes: position tables in caches."""
    with Reads() as reads:
        model(x)
    known = {address(x), *(address(holder[name]) for holder, name, _ in held_by(model))}
    return [tensor for place, tensor in reads.found.items() if place not in known]


def revive_random_numbers(device: torch.device) -> None:
    """After a recording that broke off, PyTorch's generator still waits for its end, and whoever draws from it in this
    process gets "Offset increment outside graph capture encountered unexpectedly". A copy, at the same place of the same
    sequence, does not wait."""
    generator = torch.cuda.default_generators[device.index or 0]
    if hasattr(generator, "graphsafe_set_state"):
        generator.graphsafe_set_state(generator.clone_state())


def record(model: nn.Module, x: Tensor, key: tuple) -> Recording:
    image = x.clone()
    stream = torch.cuda.Stream(x.device)
    stream.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(stream):
        tables = tables_of(model, image)  # and libraries get their workspaces for this stream outside the recording
    torch.cuda.current_stream(x.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads of the host may allocate meanwhile: their calls do not concern the recording.
    with torch.cuda.device(x.device), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        logits = model(image)
    return Recording(key, held_by(model), tables, graph, image, logits)
