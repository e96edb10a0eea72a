"""What runs on BACKGROUND_REMOVAL sockets: our network inside the host's memory management, and core's own object."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Protocol

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import torch
from torch import Tensor

from .. import birefnet
from . import convert, host, passes

log = logging.getLogger(__name__)

MOST_FRAMES = 16    # per pass: beyond this a GPU gains no speed
MEMORY_SHARE = 0.7  # of what is free that a pass may plan with: the estimate is one


class BiRefModel:
    """A network, the device and dtype it runs in, and core's `encode_image`, so that core's Remove Background runs
    it too."""

    def __init__(self, network: birefnet.BiRefNet, device: torch.device, dtype: torch.dtype) -> None:
        self.network = network
        self.device = device
        self.dtype = dtype
        self.patchers = {}

    def encode_image(self, image: Tensor, image_size: int | None = None) -> Tensor:
        """Image [B,H,W,C] in 0..1 → mask [B,H,W] in 0..1, 1 = subject, on the host's intermediate device."""
        images = convert.frames(image)
        mask = host.empty_result(*images.shape[:3])

        def keep(start: int, stop: int, pictures: Tensor, alpha: Tensor) -> None:
            mask[start:stop] = alpha

        matte_batch(self, images, keep, size=image_size or 0)
        return mask

    def load_to(self, device: torch.device, memory: int) -> None:
        """Put the whole network on the device; other models make room for it and for `memory` bytes of activations."""
        if device not in self.patchers:
            self.patchers[device] = self._patcher(device)
        mm.load_models_gpu([self.patchers[device]], memory_required=memory, force_full_load=True)
        # The host may leave parameters of their own (position-bias tables) or buffers behind; and half precision is
        # for the device it was chosen for.
        self.network.to(device, self.dtype if device == self.device else torch.float32)

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

    def matte(self, pictures: Tensor) -> Tensor:
        """[b,H,W,C] float32 in 0..1 → alpha [b,H,W]."""

    def lower(self) -> bool:
        """Move to a device with more memory; False if there is none."""


class OwnWorker:
    """Runs one of our networks."""

    def __init__(self, model: BiRefModel, images: Tensor, size: int, per_pass: int) -> None:
        self.model = model
        self.size = size or None
        self.device = model.device
        self.shape = images.shape[1:3]
        try:
            model.load_to(self.device, self._memory(min(per_pass or 1, len(images))))
            fits = True
        except Exception as error:
            if not host.is_out_of_memory(error):
                raise
            fits = False
        if not fits and not self.lower():
            raise passes.OutOfMemory("out of memory while loading the network: choose a lighter checkpoint, or close "
                                     "other programs")
        self.per_pass = per_pass or self._what_fits()

    def matte(self, pictures: Tensor) -> Tensor:
        return birefnet.matte(self.model.network, pictures.to(self.device), self.size)

    def lower(self) -> bool:
        if mm.is_device_cpu(self.device):
            return False
        log.warning("BiRef: out of memory on %s; going on with the CPU, which is slow", self.device)
        host.say("out of GPU memory: going on with the CPU (slow)")
        self.device = torch.device("cpu")
        self.model.load_to(self.device, 0)
        return True

    def _memory(self, frames: int) -> int:
        """Bytes that a pass of so many frames needs beside the weights: activations, and the pictures themselves."""
        size = birefnet.network_size(self.model.network.config, *self.shape, self.size)
        pictures = frames * self.shape[0] * self.shape[1] * 4 * 8  # float32: 4 channels in, 4 more while resizing
        return birefnet.activation_bytes(self.model.network, size, frames) + pictures

    def _what_fits(self) -> int:
        if mm.is_device_cpu(self.device):
            return 1  # all cores work on one frame already
        fitting = int(MEMORY_SHARE * mm.get_free_memory(self.device)) // self._memory(1)
        return min(max(fitting, 1), MOST_FRAMES)


class CoreWorker:
    """Runs any other object with core's `encode_image`, in passes small enough for the device."""

    def __init__(self, model: object, size: int, per_pass: int) -> None:
        if not callable(getattr(model, "encode_image", None)):
            raise ValueError(f"expected a model from Load BiRefNet or Load Background Removal Model, got "
                             f"{type(model).__name__}")
        self.model = model
        self.per_pass = per_pass or 1
        self.options = {}
        if size and "image_size" in inspect.signature(model.encode_image).parameters:
            self.options = {"image_size": size}
        elif size:
            log.warning("BiRef: %s runs at its own size only; size %d is ignored", type(model).__name__, size)

    def matte(self, pictures: Tensor) -> Tensor:
        colours, opacity = convert.opaque(pictures)
        alpha = convert.masks(self.model.encode_image(colours, **self.options)).float().clamp(0, 1)
        return alpha if opacity is None else alpha * opacity.to(alpha)

    def lower(self) -> bool:
        return False  # where it runs is its own business


def worker_for(model: object, images: Tensor, size: int = 0, per_pass: int = 0) -> Worker:
    """What mattes pictures of the height and width of `images` [B,H,W,C], at most so many frames in all."""
    if isinstance(model, BiRefModel):
        return OwnWorker(model, images, size, per_pass)
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
    worker = worker_for(model, images, size, per_pass)

    def run(start: int, stop: int) -> None:
        pictures = clean(images[start:stop])
        deliver(start, stop, pictures, worker.matte(pictures))

    host.in_passes(len(images), worker.per_pass, run, worker.lower, bar)
