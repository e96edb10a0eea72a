"""What runs on BACKGROUND_REMOVAL sockets: our network inside the host's memory management, and core's own object."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable
from typing import Protocol

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import torch
from torch import Tensor

from ... import birefnet
from ...birefnet.device import passes, transfer
from ...birefnet.device.memory import FALLBACK_BUDGETS, PLANNED_SHARE
from ...birefnet.imaging.resize import over_grey
from . import convert, memory, messages

log = logging.getLogger(__name__)

MOST_FRAMES = 16    # per pass: beyond this a GPU gains no speed
MAX_RELOADS = 3        # times that a pass is begun again because somebody has unloaded the network under it


class BiRefModel:
    """A network, the device and dtype it runs in, and core's `encode_image`, so that core's Remove Background runs
    it too."""

    def __init__(self, network: birefnet.BiRefNet, device: torch.device, dtype: torch.dtype) -> None:
        self.network = network
        self.device = device
        self.dtype = dtype
        self.patchers = {}
        self.announced = ""  # what was last said about memory
        self.recipe = None   # what it was made of, see recipe.Recipe

    def encode_image(self, image: Tensor, image_size: int | None = None) -> Tensor:
        """Image [B,H,W,C] in 0..1 → mask [B,H,W] in 0..1, 1 = subject, on the host's intermediate device."""
        images = convert.frames(image)
        mask = memory.empty_result(*images.shape[:3])

        def keep(start: int, stop: int, pictures: Tensor, alpha: Tensor) -> None:
            mask[start:stop] = alpha

        matte_batch(self, images, keep, size=image_size or 0)
        return mask

    def load_to(self, device: torch.device, memory_bytes: int) -> None:
        """Put the whole network on the device; other models make room for it and for `memory_bytes` of activations."""
        if device not in self.patchers:
            self.patchers[device] = self._patcher(device)
        patcher = self.patchers[device]
        memory.despite_unloading(lambda: mm.load_models_gpu([patcher], memory_required=memory_bytes, force_full_load=True))
        # The host may leave parameters of their own (position-bias tables) or buffers behind; and half precision is
        # for the device it was chosen for.
        birefnet.place(self.network, device, self.dtype if device == self.device else torch.float32)

    def is_on(self, device: torch.device) -> bool:
        """Whether all of the network is where `load_to` has put it: other threads of the host may unload it."""
        dtype = self.dtype if device == self.device else torch.float32
        return all(weight.dtype == dtype and weight.device.type == device.type
                   and device.index in (None, weight.device.index) for weight in self.network.parameters())

    def _patcher(self, device: torch.device) -> comfy.model_patcher.ModelPatcher:
        offload = torch.device("cpu") if mm.is_device_cpu(device) else mm.unet_offload_device()
        patcher_class = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
        patcher = patcher_class(self.network, load_device=device, offload_device=offload)
        if not getattr(patcher, "is_dynamic", bool)():
            # These layers do not fetch their weights when they run, so half of the network on the CPU cannot run: free
            # nothing in part, which makes the host unload all of it.
            patcher.partially_unload = lambda *args, **kwargs: 0
        return patcher


class Worker(Protocol):
    """Mattes one batch: how many frames at a time, and on which device."""

    per_pass: int
    overlaps: bool  # whether work goes on after `start` has returned: the next pass can be prepared meanwhile

    def start(self, pictures: Tensor) -> Callable[[], Tensor]:
        """[b,H,W,C] float32 in 0..1 → what gives alpha [b,H,W] when called."""

    def lower(self) -> bool:
        """Do with less memory, in the end on another device; False if there is no way left."""

    def close(self) -> None:
        """Give back what was held for the batch."""


class OwnWorker:
    """Runs one of our networks."""

    def __init__(self, model: BiRefModel, images: Tensor, size: int, per_pass: int, total: int) -> None:
        self.model = model
        self.size = size or None
        self.shape = images.shape[1:3]
        self.most = min(per_pass or MOST_FRAMES, total)
        self.elsewhere = not images.is_cuda
        self.device = model.device
        try:
            self._settle_on(model.device, self._memory(min(per_pass or 1, total)))
            fits = True
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
            fits = False
        if not fits:
            if mm.is_device_cpu(self.device):
                raise passes.OutOfMemory("out of memory while loading the network: choose a lighter checkpoint, or "
                                         "close other programs")
            self._to_cpu()
        self.per_pass = per_pass or self.plan.frames
        self._announce()

    def start(self, pictures: Tensor) -> Callable[[], Tensor]:
        for _ in range(MAX_RELOADS):
            if not self.model.is_on(self.device):
                log.info("BiRef: the network was unloaded during the run; loading it again")
                self.model.load_to(self.device, self._memory(self.per_pass, self.plan.budget))
            try:
                return self._start(pictures)
            except BaseException as error:
                self.close()  # a recorded pass holds memory that the next attempt may need
                if not isinstance(error, Exception) or self.model.is_on(self.device) or memory.is_out_of_memory(error):
                    raise
        raise RuntimeError("the network was unloaded again and again while it ran: another node or extension frees "
                           "models during a run")

    def _start(self, pictures: Tensor) -> Callable[[], Tensor]:
        network = self.model.network
        network.budget_bytes = self.plan.budget
        if self.overlaps:
            return self.transfer.download_later(
                convert.certain(birefnet.matte(network, self.transfer.upload(pictures), self.size)))
        alpha = convert.certain(birefnet.matte(network, pictures.to(self.device), self.size))
        return lambda: alpha

    def lower(self) -> bool:
        tighter = [budget for budget in FALLBACK_BUDGETS if self.plan.budget is None or budget < self.plan.budget]
        if tighter:
            self.plan = dataclasses.replace(self.plan, budget=tighter[0])
            log.warning("BiRef: out of memory on %s; going on in smaller steps of %d MiB", self.device,
                        tighter[0] >> 20)
            return True
        if mm.is_device_cpu(self.device):
            return False
        self._to_cpu()
        return True

    def close(self) -> None:
        if self.model.network.graphs is not None:
            self.model.network.graphs.drop()

    def _to_cpu(self) -> None:
        messages.say_cpu_takes_over(self.device)
        self._settle_on(torch.device("cpu"), 0)

    def _settle_on(self, device: torch.device, memory_bytes: int) -> None:
        self.device = device
        self.model.load_to(device, memory_bytes)
        self.transfer = transfer.connect(device) if self.elsewhere else None
        self.overlaps = self.transfer is not None
        processor = mm.is_device_cpu(device)
        self.free = birefnet.free_memory(device) if processor else mm.get_free_memory(device)
        room = None if self.free is None else int(PLANNED_SHARE * self.free)
        # All of a processor's cores work on one frame already.
        self.plan = birefnet.plan(self.model.network, self._network_size(), 1 if processor else self.most, room,
                                  beside=self._pictures(1))

    def _network_size(self) -> tuple[int, int]:
        return birefnet.network_size(self.model.network.config, *self.shape, self.size)

    def _pictures(self, frames: int) -> int:
        """Bytes of the pictures themselves, in float32: 4 channels in, those of the next pass, and 4 on the way out."""
        return frames * self.shape[0] * self.shape[1] * 4 * 12

    def _memory(self, frames: int, budget: int | None = None) -> int:
        """Bytes that a pass of so many frames needs beside the weights."""
        network = birefnet.activation_bytes(self.model.network, self._network_size(), frames, budget, self.device)
        return network + self._pictures(frames)

    def _announce(self) -> None:
        """Says before the work begins what it will take."""
        height, width = self._network_size()
        at_once = f"{self.per_pass} frames at a time" if self.per_pass > 1 else "one frame at a time"
        free = "" if self.free is None else f" of {self.free / 2**30:.1f} GiB free"
        peak = self._memory(self.per_pass, self.plan.budget) / 2**30
        text = f"{width}×{height}, {at_once}: about {peak:.1f} GiB{free} on {self.device}"
        if text != self.model.announced:
            self.model.announced = text
            log.info("BiRef: %s", text)
            messages.say(text)


class CoreWorker:
    """Runs any other object with core's `encode_image`, in passes small enough for the device."""

    overlaps = False

    def __init__(self, model: object, size: int, per_pass: int) -> None:
        if not callable(getattr(model, "encode_image", None)):
            raise ValueError(f"expected a model from Load BiRefNet or Load Background Removal Model, got "
                             f"{type(model).__name__}")
        self.model = model
        self.per_pass = per_pass or 1
        self.clean = convert.Cleaner("the model's mask")
        self.options = {}
        if size and "image_size" in inspect.signature(model.encode_image).parameters:
            self.options = {"image_size": size}
        elif size:
            log.warning("BiRef: %s runs at its own size only; size %d is ignored", type(model).__name__, size)

    def start(self, pictures: Tensor) -> Callable[[], Tensor]:
        alpha = convert.certain(self.clean(convert.masks(self.model.encode_image(over_grey(pictures), **self.options))))
        if alpha.shape != pictures.shape[:3]:
            raise ValueError(f"expected masks {list(pictures.shape[:3])} from {type(self.model).__name__}, as large as "
                             f"the pictures, got {list(alpha.shape)}")
        return lambda: alpha if pictures.shape[-1] < 4 else alpha * pictures[..., 3].to(alpha)

    def lower(self) -> bool:
        return False  # where it runs is its own business

    def close(self) -> None:
        pass


def worker_for(model: object, images: Tensor, size: int = 0, per_pass: int = 0, total: int = MOST_FRAMES) -> Worker:
    """What mattes pictures of the size, and on the device, of `images` [B,H,W,C]; `total`: how many there will be."""
    if isinstance(model, BiRefModel):
        return OwnWorker(model, images, size, per_pass, total)
    return CoreWorker(model, size, per_pass)


def matte_batch(
    model: object,
    images: Tensor,
    deliver: Callable[[int, int, Tensor, Tensor], None],
    *,
    size: int = 0,
    per_pass: int = 0,
    bar: comfy.utils.ProgressBar | None = None,
) -> None:
    """Matte images [B,H,W,C] pass by pass: only a pass's frames are on the device at any time.

    deliver(start, stop, pictures, alpha) gets each pass's cleaned pictures [b,H,W,C] and their alpha [b,H,W]. size 0:
    the model's own; per_pass 0: as many frames as memory allows. bar: a progress bar of the caller's that goes on.
    """
    if not len(images):
        return
    clean = convert.Cleaner("the image")
    worker = worker_for(model, images, size, per_pass, len(images))

    started = []  # the pass before, which the device may still be working on

    def settle() -> None:
        while started:
            start, stop, pictures, alpha = started[0]
            deliver(start, stop, pictures, alpha())
            del started[0]  # only now: where delivering runs out of memory, it is tried again

    def run(start: int, stop: int) -> None:
        pictures = clean(images[start:stop])
        alpha = worker.start(pictures)
        settle()
        if worker.overlaps and stop < len(images):
            started.append((start, stop, pictures, alpha))
        else:
            deliver(start, stop, pictures, alpha())

    try:
        memory.in_passes(len(images), worker.per_pass, run, worker.lower, bar)
    finally:
        worker.close()
