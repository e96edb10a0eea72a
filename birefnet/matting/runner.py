"""Run frames through a network in passes: one plan per batch, overlapping passes, retries when memory runs
out.

    frames ─ pass of `Plan.frames` ─ network ─ alpha, pass by pass and in order

A pass that runs out of memory is repeated with half as many frames; a single frame in smaller steps
(FALLBACK_BUDGETS), then on the CPU in float32. The rest of the batch keeps the settings that fitted. On CUDA
the device works on one pass while the caller processes the previous one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Protocol

import torch
from torch import Tensor

from ..device import memory, passes, transfer
from ..device.free_memory import free_memory
from ..device.placement import place
from ..network.birefnet import BiRefNet
from ..network.config import network_size
from ..network.cost import activation_bytes, plan
from . import predict

MAX_FRAMES = 16         # per pass: beyond this a GPU gains no speed
MAX_RELOADS = 3         # of one pass: another thread of the host may unload the model while it runs
# Per pixel of a picture, outside the network, in float32: 4 channels in, 4 of the next pass, and 4 out.
BYTES_PER_PIXEL = 4 * 12

CPU = torch.device("cpu")
Size = int | tuple[int, int] | None
Started = tuple[Tensor, Callable[[], Tensor]]  # a pass's pictures, and a function that waits for their alpha


class Host:
    """The services that a run needs from the program around it.

    This class serves a process with a network of its own. A program that manages devices, messages or
    interrupts itself overrides the methods concerned.
    """

    def load(self, network: BiRefNet, device: torch.device, dtype: torch.dtype, memory_bytes: int) -> None:
        """Move the whole network to a device, where running needs `memory_bytes` beside its weights."""
        if not self.is_loaded(network, device, dtype):
            place(network, device, dtype)

    def is_loaded(self, network: BiRefNet, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether all weights are still on the device and in the dtype of `load`."""
        return all(weight.dtype == dtype and weight.device.type == device.type
                   and device.index in (None, weight.device.index) for weight in network.parameters())

    def free_memory(self, device: torch.device) -> int | None:
        """Bytes that a run on the device may use; None if that is unknown."""
        return free_memory(device)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error means that memory ran out."""
        return memory.is_out_of_memory(error)

    def release_memory(self) -> None:
        """Release the memory that allocators cache."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def check_interrupt(self) -> None:
        """Raise the program's own exception if its user has stopped the run; called before each pass."""

    def announce(self, text: str) -> None:
        """Called before a batch with a line on its network size, frames per pass and memory."""

    def note(self, text: str) -> None:
        """Called with a line for the log: smaller steps, a reload of the network, a change to float32."""

    def say_cpu_takes_over(self, device: torch.device) -> None:
        """Called when the memory of `device` is too small."""


class Worker(Protocol):
    """Mattes one batch: how many frames at a time, and on which device."""

    host: Host
    frames: int     # per pass; `run_passes` lowers it when memory runs out
    overlaps: bool  # whether the device still works when `start` returns, while the next pass is prepared

    def start(self, pictures: Tensor) -> Callable[[], Tensor]:
        """Start a pass of pictures [b,...]; return a function that waits for their alpha and returns it."""

    def lower(self) -> bool:
        """Continue with less memory, at last on another device; return False if no way is left."""

    def close(self) -> None:
        """Free what was held for the batch."""


class NetworkWorker:
    """Runs one batch of frames of equal size through a network, by one plan; falls back when memory runs out.

    Args:
        runner: holds the network, its preferred device and the host.
        compute: (network, pictures on any device) → alpha, float32 on the network's device.
        size: (H, W) at which the network sees each frame.
        total: frames in the batch, or MAX_FRAMES if that is unknown.
        per_pass: frames per pass; 0 for as many as memory allows.
        extra_bytes: bytes that each frame needs outside the network.
        overlap: pictures and alpha are in CPU memory; copies then overlap with computing, on devices that
            can do both at once.

    Raises:
        passes.OutOfMemory: memory ran out while the network was loaded on the CPU.
    """

    def __init__(
        self,
        runner: Runner,
        compute: Callable[[BiRefNet, Tensor], Tensor],
        size: tuple[int, int],
        total: int,
        *,
        per_pass: int = 0,
        extra_bytes: int = 0,
        overlap: bool = False,
    ) -> None:
        self.runner, self.host, self.network = runner, runner.host, runner.network
        self.compute, self.total, self.requested_frames = compute, total, per_pass
        self.extra_bytes, self.overlap = extra_bytes, overlap
        device = runner.device_for(size)
        try:
            self._load_on(device, size, min(per_pass or 1, total))
            fits = True
        except Exception as error:
            if not self.host.is_out_of_memory(error):
                raise
            fits = False
        if fits and device == runner.preferred_device:
            runner.too_large = None
        if not fits:  # outside `except`: the error's traceback holds what was loaded so far
            if device.type == "cpu":
                raise passes.OutOfMemory("Choose a lighter checkpoint, or close other programs: out of "
                                         "memory while loading the network")
            self._load_on_cpu(size)
        self.frames = self.plan.frames
        self.host.announce(self.announcement())

    def start(self, pictures: Tensor) -> Callable[[], Tensor]:
        for _ in range(MAX_RELOADS):
            if not self._is_loaded():
                self.host.note("the network was unloaded during the run; loading it again")
                self.host.load(self.network, self.device, self.dtype,
                               self._bytes(self.plan.size, self.frames, self.plan.budget))
            try:
                return self._start(pictures)
            except BaseException as error:
                self.close()  # a recorded CUDA graph holds memory that the next attempt may need
                if not isinstance(error, Exception) or self._is_loaded() or self.host.is_out_of_memory(error):
                    raise
        raise RuntimeError("Remove the node or extension that frees models during a run: the network was "
                           "unloaded again and again while it ran")

    def lower(self) -> bool:
        budget = self.plan.budget
        if smaller := [step for step in memory.FALLBACK_BUDGETS if budget is None or step < budget]:
            self.plan = dataclasses.replace(self.plan, budget=smaller[0])
            self.host.note(f"out of memory on {self.device}; continuing in steps of "
                           f"{smaller[0] >> 20} MiB")
            return True
        if self.device.type == "cpu":
            return False
        self._load_on_cpu(self.plan.size)
        return True

    def close(self) -> None:
        """Free the memory of a recorded CUDA graph."""
        if self.network.graphs is not None:
            self.network.graphs.drop()

    def announcement(self) -> str:
        """"1024×768, 3 frames at a time: about 1.2 GiB of 7.9 GiB free on cuda:0"."""
        at_once = f"{self.frames} frames at a time" if self.frames > 1 else "one frame at a time"
        free = "" if self.free is None else f" of {self.free / 2**30:.1f} GiB free"
        height, width = self.plan.size
        return f"{width}×{height}, {at_once}: about {self.plan.peak / 2**30:.1f} GiB{free} on {self.device}"

    def _start(self, pictures: Tensor) -> Callable[[], Tensor]:
        """Start a pass, without retries."""
        self.network.budget_bytes = self.plan.budget
        if self.overlaps:
            arrive = self.transfer.download_later(self.compute(self.network, self.transfer.upload(pictures)))
        else:
            alpha = self.compute(self.network, pictures)
            arrive = lambda: alpha  # noqa: E731
        return lambda: self._ensure_finite(arrive(), pictures)

    def _ensure_finite(self, alpha: Tensor, pictures: Tensor) -> Tensor:
        """Return alpha, computed again in float32 if a half precision gave values that are not finite.

        The rest of the batch then stays in float32. It is computed frame by frame here, as float32 takes
        twice the memory. Raises UserError if float32 does not help.
        """
        if predict.is_finite(alpha):
            return alpha
        if self.dtype is not torch.float32:
            if self.network is self.runner.network:
                self.host.note(f"computing in fp32: the network's numbers are not finite in {self.dtype}")
                self.close()
                self.network = predict.copy_in_float32(self.network)
            alpha = torch.cat([self._compute_now(picture) for picture in pictures.split(1)])
            if predict.is_finite(alpha):
                return alpha
        raise predict.explain_not_finite(self.network, pictures)

    def _compute_now(self, pictures: Tensor) -> Tensor:
        self.network.budget_bytes = self.plan.budget
        return self.compute(self.network, pictures).to(pictures.device)

    def _is_loaded(self) -> bool:
        is_copy = self.network is not self.runner.network  # in float32, which the host does not manage
        return is_copy or self.host.is_loaded(self.network, self.device, self.dtype)

    def _load_on_cpu(self, size: tuple[int, int]) -> None:
        self.runner.mark_too_large(size, self.device)
        self._load_on(CPU, size, 0)

    def _load_on(self, device: torch.device, size: tuple[int, int], frames: int) -> None:
        """Load the network with room for this many frames, and plan the batch."""
        self.device = device
        self.network, self.dtype = self.runner.network, self.runner.dtype_on(device)
        self.host.load(self.network, device, self.dtype, self._bytes(size, frames) if frames else 0)
        self.transfer = transfer.make_transfer(device) if self.overlap else None
        self.overlaps = self.transfer is not None
        self.free = self.host.free_memory(device)
        room = None if self.free is None else int(memory.PLANNED_SHARE * self.free)
        # All of a processor's cores work on one frame already.
        most = 1 if device.type == "cpu" else min(self.requested_frames or MAX_FRAMES, self.total)
        self.plan = plan(self.network, size, most, room, extra_bytes=self.extra_bytes)
        if self.requested_frames:
            self.plan = dataclasses.replace(self.plan, frames=self.requested_frames,
                                            peak=self._bytes(size, self.requested_frames, self.plan.budget))

    def _bytes(self, size: tuple[int, int], frames: int, budget: int | None = None) -> int:
        """Bytes that a pass of this many frames needs beside the weights."""
        return activation_bytes(self.network, size, frames, budget, self.device) + frames * self.extra_bytes


class Runner:
    """A network, the device and dtype in which it preferably runs, and its host program.

    If that device's memory is too small for a picture, the network moves to the CPU (in float32). It stays
    there until a picture with fewer network pixels comes.
    """

    def __init__(
        self,
        network: BiRefNet,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        host: Host | None = None,
    ) -> None:
        weight = next(network.parameters())
        self.network, self.host = network, host or Host()
        self.preferred_device, self.preferred_dtype = device or weight.device, dtype or weight.dtype
        self.too_large: int | None = None  # network pixels that did not fit the preferred device

    def device_for(self, size: tuple[int, int]) -> torch.device:
        """The device to try first for a frame that the network sees at (H, W)."""
        return self.preferred_device if self.too_large is None or size[0] * size[1] < self.too_large else CPU

    def dtype_on(self, device: torch.device) -> torch.dtype:
        """The preferred dtype on the preferred device, float32 on others."""
        return self.preferred_dtype if device == self.preferred_device else torch.float32

    def mark_too_large(self, size: tuple[int, int], device: torch.device) -> None:
        """Note that `device` was too small for a frame that the network sees at (H, W)."""
        if self.too_large is None:
            self.host.say_cpu_takes_over(device)
        self.too_large = size[0] * size[1]

    def matte(self, image: Tensor, size: Size = None) -> Tensor:
        """`birefnet.matte` of pictures [B,H,W,C].

        Raises:
            passes.OutOfMemory: they do not fit the CPU either.
            UserError: the network's numbers are not finite.
        """
        return self._run_all(self.frames_worker(image.shape[1:3], size, len(image)), image)

    def network_alpha(self, x: Tensor) -> Tensor:
        """`predict.network_alpha` of network inputs [B,3,h,w], on their device; raises as `matte` does."""
        return self._run_all(NetworkWorker(self, predict.network_alpha, tuple(x.shape[2:]), len(x)), x)

    def mattes(self, frames: Iterator[Tensor], size: Size = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(frame [1,H,W,C], alpha [1,H,W]) of each of `frames` [H,W,C], see `run_stream`; raises as `matte`
        does."""
        return run_stream(lambda first: self.frames_worker(first.shape[:2], size, overlap=True), frames)

    def frames_worker(
        self,
        shape: tuple[int, int],
        size: Size = None,
        total: int = MAX_FRAMES,
        *,
        per_pass: int = 0,
        overlap: bool = False,
        finish: Callable[[Tensor], Tensor] = lambda alpha: alpha,
    ) -> NetworkWorker:
        """Return a worker for pictures of equal size.

        Args:
            shape: height and width of the pictures.
            size: at which the network sees them, as for `birefnet.matte`.
            total, per_pass, overlap: as for NetworkWorker.
            finish: applied to alpha on the network's device.
        """
        return NetworkWorker(
            self, lambda network, pictures: finish(predict.compute_alpha(network, pictures, size)),
            network_size(self.network.config, *shape, size), total, per_pass=per_pass,
            extra_bytes=shape[0] * shape[1] * BYTES_PER_PIXEL, overlap=overlap)

    def _run_all(self, worker: NetworkWorker, inputs: Tensor) -> Tensor:
        alphas = [alpha.to(inputs.device) for _, alpha in run_passes(worker, slices(inputs))]
        return torch.cat(alphas) if len(alphas) > 1 else alphas[0]


# Passes -----------------------------------------------------------------------------------------------------


def run_batch(
    worker: Worker,
    images: Tensor,
    deliver: Callable[[int, int, Tensor, Tensor], None],
    clean: Callable[[Tensor], Tensor] = lambda pictures: pictures,
) -> None:
    """Matte images [B,...] pass by pass: only a pass's frames are on the device at any time.

    Args:
        worker: see `run_passes`.
        images: the batch, on any device.
        deliver: called as deliver(start, stop, pictures, alpha) for each pass. If it runs out of memory, it
            is called again for the same frames in smaller parts.
        clean: makes `pictures` from a pass's images.
    """
    start = 0
    for pictures, alpha in run_passes(worker, slices(images), clean):
        def deliver_part(a: int, b: int) -> None:
            deliver(start + a, start + b, pictures[a:b], alpha[a:b])

        _in_passes(worker, len(pictures), len(pictures), deliver_part)
        start += len(pictures)


def run_stream(
    make_worker: Callable[[Tensor], Worker],
    frames: Iterator[Tensor],
    clean: Callable[[Tensor], Tensor] = lambda pictures: pictures,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Matte any number of frames of one shape, with at most two passes in memory.

    Args:
        make_worker: called with the first frame, if there is one.
        frames: each [H,W,C].
        clean: applied to a pass's frames [b,H,W,C].

    Yields:
        (picture [1,H,W,C], alpha [1,H,W] on the picture's device), in order. Frames are read when needed.
    """
    first = next(frames, None)
    if first is None:
        return
    worker, frames = make_worker(first), chain([first], frames)
    del first

    def take(count: int) -> Tensor | None:
        some = list(islice(frames, count))
        return torch.stack(some) if some else None

    for pictures, alpha in run_passes(worker, take, clean):
        yield from zip(pictures.split(1), alpha.to(pictures.device).split(1))


def run_passes(
    worker: Worker,
    take: Callable[[int], Tensor | None],
    clean: Callable[[Tensor], Tensor] = lambda pictures: pictures,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Run pass after pass.

    Args:
        worker: closed at the end, also after an error.
        take: take(count) returns the next frames, at most `count`; None if there are no more.
        clean: applied to each pass's frames.

    Yields:
        (pictures, alpha) of each pass, in order. If the worker overlaps, a pass is yielded while the device
        works on the next one.
    """
    started: list[Started] = []
    try:
        while (images := take(worker.frames)) is not None:
            begun: list[Started] = []

            def begin(start: int, stop: int) -> None:
                worker.host.check_interrupt()
                pictures = clean(images[start:stop])
                begun.append((pictures, worker.start(pictures)))

            worker.frames = _in_passes(worker, len(images), worker.frames, begin)
            del images
            yield from _finish(worker, started)
            started = begun
            if not worker.overlaps:
                yield from _finish(worker, started)
        yield from _finish(worker, started)
    finally:
        worker.close()


def slices(images: Tensor) -> Callable[[int], Tensor | None]:
    """Make the `take` of `run_passes` for a batch."""
    done = 0

    def take(count: int) -> Tensor | None:
        nonlocal done
        start, done = done, min(done + count, len(images))
        return images[start:done] if done > start else None

    return take


def _finish(worker: Worker, started: list[Started]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the passes that were started, when their alpha arrives; empties the list."""
    while started:
        pictures, wait = started[0]
        arrived: list[Tensor] = []
        _in_passes(worker, 1, 1, lambda *_: arrived.append(wait()))
        del started[0], wait
        yield pictures, arrived.pop()


def _in_passes(worker: Worker, total: int, frames: int, run: Callable[[int, int], None]) -> int:
    """`passes.in_passes` with a worker and its host."""
    host = worker.host
    return passes.in_passes(total, frames, run, out_of_memory=host.is_out_of_memory,
                            relieve=host.release_memory, lower=worker.lower)
