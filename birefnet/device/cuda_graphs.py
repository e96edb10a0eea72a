"""CUDA graphs: record a network's pass once, and replay it without a launch for each of its kernels.

On fast GPUs, launching a pass from Python takes longer than the pass itself. Recording needs no compile time,
where torch.compile takes minutes for these networks, again for each size, and a compiler that many machines
lack. The price is memory: a recording keeps its activations' memory until it is dropped.
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
    """A recorded pass, with its input and output buffers."""

    key: tuple
    weights: list[tuple[dict, str, int]]  # each tensor's owner and name in it, and the recorded address
    tables: list[Tensor]                  # other tensors that the pass reads; kept alive, as caches drop them
    graph: torch.cuda.CUDAGraph
    image: Tensor
    logits: Tensor

    def is_valid(self) -> bool:
        """Return whether the network's tensors are still at the recorded addresses."""
        return all((tensor := holder.get(name)) is not None and tensor.data_ptr() == address
                   for holder, name, address in self.weights)

    def replay(self, x: Tensor) -> Tensor:
        """Run the recorded pass on another input of the same shape."""
        self.image.copy_(x)
        self.graph.replay()
        return self.logits.clone()


class Graphs:
    """`graphs(model, x)` returns what `model(x)` returns, under inference_mode.

    The first pass of a shape runs as usual; the second in a row is recorded, and replayed from then on. One
    recording is kept, until the network's weights move. If recording fails, a warning is logged once and all
    passes run as usual; after a failure for lack of memory it is tried again later. On devices other than
    CUDA nothing is recorded. Threads take turns; they must share a stream, as they do by default.
    """

    def __init__(self) -> None:
        self.recording: Recording | None = None
        self.last: tuple | None = None
        self.failed = False
        self.lock = threading.RLock()  # a recording has one input and one output buffer

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        if self.failed or not x.is_cuda or not torch.is_inference_mode_enabled():
            return model(x)
        with self.lock:
            return self.run_recorded(model, x)

    def run_recorded(self, model: nn.Module, x: Tensor) -> Tensor:
        """Replay the recording if it fits, else record the second pass of a shape in a row."""
        if self.recording is not None and not self.recording.is_valid():
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
            torch.cuda.set_stream(stream)  # a failed recording leaves its own stream the current one
            repair_generator(x.device)
            if isinstance(error, torch.cuda.OutOfMemoryError):
                self.last = None  # there may be more memory for a later pass
            else:
                self.failed = True
                log.warning("CUDA graphs are off: this network's pass could not be recorded (%s)",
                            (str(error).strip() or type(error).__name__).splitlines()[0])
        # Outside `except`: the error's traceback holds the activations of the failed pass.
        return model(x) if self.recording is None else self.recording.replay(x)

    def __deepcopy__(self, memo: dict) -> Graphs:
        return Graphs()  # a recording reads the weights of its own network

    def drop(self) -> None:
        """Free the recording's memory."""
        with self.lock:
            if self.recording is not None:
                torch.cuda.synchronize(self.recording.image.device)  # a replay may still be running
            self.recording = self.last = None


class ReadRecorder(TorchDispatchMode):
    """Collects the tensors that a pass reads and does not make itself."""

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
    """Return the address of a tensor's storage."""
    return tensor.untyped_storage().data_ptr()


def list_weights(model: nn.Module) -> list[tuple[dict, str, int]]:
    """List parameters and buffers: the owning dictionary, the name in it, and the address."""
    return [(holder, name, tensor.data_ptr()) for module in model.modules()
            for holder in (module._parameters, module._buffers) for name, tensor in holder.items()
            if tensor is not None]


def find_tables(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Find tensors that a pass reads besides image, weights and its own results: cached position tables."""
    with ReadRecorder() as reads:
        model(x)
    known = {address(x), *(address(holder[name]) for holder, name, _ in list_weights(model))}
    return [tensor for place, tensor in reads.found.items() if place not in known]


def repair_generator(device: torch.device) -> None:
    """Make PyTorch's generator of random numbers usable again after a failed recording.

    Its state still expects the end of the recording, and raises "Offset increment outside graph capture
    encountered unexpectedly" when used. A clone of the state does not.
    """
    generator = torch.cuda.default_generators[device.index or 0]
    if hasattr(generator, "graphsafe_set_state"):
        generator.graphsafe_set_state(generator.clone_state())


def record(model: nn.Module, x: Tensor, key: tuple) -> Recording:
    """Record a pass; key: what the recording depends on. Raises RuntimeError."""
    image = x.clone()
    stream = torch.cuda.Stream(x.device)
    stream.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(stream):
        # This pass also lets libraries allocate their workspaces for this stream outside the recording.
        tables = find_tables(model, image)
    torch.cuda.current_stream(x.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # "thread_local": other threads of the host may allocate meanwhile.
    capture = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
    with torch.cuda.device(x.device), capture:
        logits = model(image)
    return Recording(key, list_weights(model), tables, graph, image, logits)
