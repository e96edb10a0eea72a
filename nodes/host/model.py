"""Models on BACKGROUND_REMOVAL sockets: this pack's, in the host's memory management, and core's."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import torch
from torch import Tensor

from ... import birefnet
from ...birefnet.files.errors import UserError
from ...birefnet.imaging.resize import over_grey
from ...birefnet.matting import runner
from . import convert, memory, messages, progress

log = logging.getLogger(__name__)


class BiRefModel:
    """A network with its device and dtype; core's Remove Background can run it by `encode_image`."""

    def __init__(self, network: birefnet.BiRefNet, device: torch.device, dtype: torch.dtype) -> None:
        self.network = network
        self.device = device
        self.dtype = dtype
        self.patchers = {}
        self.announced = ""  # the last text that was announced
        self.recipe = None   # the recipe.Recipe that it was made from

    def encode_image(self, image: Tensor, image_size: int | None = None) -> Tensor:
        """Core's method: image [B,H,W,C] in 0..1 → mask [B,H,W] in 0..1, 1 = subject."""
        images = convert.frames(image)
        mask = memory.empty_result(*images.shape[:3])

        def keep(start: int, stop: int, pictures: Tensor, alpha: Tensor) -> None:
            mask[start:stop] = alpha

        matte_batch(self, images, keep, size=image_size or 0)
        return mask

    def load_to(self, device: torch.device, memory_bytes: int) -> None:
        """Load the whole network; the host unloads other models if it and `memory_bytes` more do not fit."""
        if device not in self.patchers:
            self.patchers[device] = self._patcher(device)
        patcher = self.patchers[device]
        memory.retry_while_unloading(
            lambda: mm.load_models_gpu([patcher], memory_required=memory_bytes, force_full_load=True))
        # The host may not move parameters outside layers (position-bias tables) or buffers. Half precision is
        # used only on the device for which it was chosen.
        birefnet.place(self.network, device, self.dtype if device == self.device else torch.float32)
        self._stay_loaded(patcher)

    def _stay_loaded(self, patcher: comfy.model_patcher.ModelPatcher) -> None:
        """Keep this model alive until the host unloads it, by a reference in the host's list of loaded
        models.

        That list has only weak references, because the host's cache of node outputs keeps models alive. But
        ComfyUI 0.25 drops the outputs of an expanded graph's nodes (Remove Background) after the prompt, and
        each prompt would load the checkpoint from its file again. Only for the host's own device: on others,
        the host does not unload models that are referenced.
        """
        if patcher.load_device == mm.get_torch_device():
            for entry in list(mm.current_loaded_models):
                if entry.model is patcher:
                    entry.birefnet_model = self

    def _patcher(self, device: torch.device) -> comfy.model_patcher.ModelPatcher:
        """Wrap the network for the host's memory management on a device."""
        offload = torch.device("cpu") if mm.is_device_cpu(device) else mm.unet_offload_device()
        patcher_class = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
        patcher = patcher_class(self.network, load_device=device, offload_device=offload)
        if not getattr(patcher, "is_dynamic", bool)():
            # These layers do not load their weights on demand, so a partly unloaded network cannot run. If a
            # partial unload frees nothing, the host unloads the whole network.
            patcher.partially_unload = lambda *args, **kwargs: 0
        return patcher


class ComfyHost(runner.Host):
    """ComfyUI's memory management, messages and interrupts. model: None if the model loads itself."""

    def __init__(self, model: BiRefModel | None = None) -> None:
        self.model = model

    def load(self, network: birefnet.BiRefNet, device: torch.device, dtype: torch.dtype, memory_bytes: int
             ) -> None:
        self.model.load_to(device, memory_bytes)

    def free_memory(self, device: torch.device) -> int | None:
        return super().free_memory(device) if mm.is_device_cpu(device) else mm.get_free_memory(device)

    def is_out_of_memory(self, error: BaseException) -> bool:
        return memory.is_out_of_memory(error)

    def release_memory(self) -> None:
        mm.soft_empty_cache()

    def check_interrupt(self) -> None:
        progress.check_interrupt()

    def announce(self, text: str) -> None:
        if text != self.model.announced:
            self.model.announced = text
            log.info("BiRef: %s", text)
            messages.say(text)

    def note(self, text: str) -> None:
        log.warning("BiRef: %s", text)

    def say_cpu_takes_over(self, device: torch.device) -> None:
        messages.say_cpu_takes_over(device)


class CoreWorker:
    """A worker for models of core and other packs, which have core's `encode_image`.

    Raises:
        ValueError: the model has no such method, or returns masks of another size.
    """

    overlaps = False

    def __init__(self, model: object, size: int, per_pass: int) -> None:
        if not callable(getattr(model, "encode_image", None)):
            raise ValueError("Connect a model from Load BiRefNet or Load Background Removal Model: got "
                             f"{type(model).__name__}.")
        self.model, self.host = model, ComfyHost()
        self.frames = per_pass or 1
        self.clean = convert.Cleaner("the model's mask")
        self.options = {}
        if size and "image_size" in inspect.signature(model.encode_image).parameters:
            self.options = {"image_size": size}
        elif size:
            log.warning("BiRef: %s runs at its own size only; size %d is ignored", type(model).__name__, size)

    def start(self, pictures: Tensor) -> Callable[[], Tensor]:
        found = convert.masks(self.model.encode_image(over_grey(pictures), **self.options))
        if found.is_floating_point() and found.isnan().any():
            raise UserError(f"Load another copy of the checkpoint: this one ({type(self.model).__name__}) "
                            "gives values that are not numbers (NaN)")
        alpha = convert.snap_to_opaque(self.clean(found))
        if alpha.shape != pictures.shape[:3]:
            raise ValueError(f"Connect another model: {type(self.model).__name__} gives masks "
                             f"{list(alpha.shape)}, expected the pictures' size {list(pictures.shape[:3])}.")
        return lambda: alpha if pictures.shape[-1] < 4 else alpha * pictures[..., 3].to(alpha)

    def lower(self) -> bool:
        return False  # the model chooses its device

    def close(self) -> None:
        pass


def worker_for(model: object, images: Tensor, size: int = 0, per_pass: int = 0,
               total: int = runner.MAX_FRAMES) -> runner.Worker:
    """Return a worker for pictures with the size and device of `images` [B,H,W,C].

    Args:
        model: from a BACKGROUND_REMOVAL socket.
        images: pictures in 0..1, of which only size and device are read.
        size: longer side of the network's input, in pixels; 0 for the model's own.
        per_pass: pictures per pass; 0 for as many as memory allows.
        total: number of pictures.
    """
    if not isinstance(model, BiRefModel):
        return CoreWorker(model, size, per_pass)
    own = runner.Runner(model.network, model.device, model.dtype, ComfyHost(model))
    return own.frames_worker(images.shape[1:3], size or None, total, per_pass=per_pass,
                             overlap=not images.is_cuda, finish=convert.snap_to_opaque)


def matte_batch(
    model: object,
    images: Tensor,
    deliver: Callable[[int, int, Tensor, Tensor], None],
    *,
    size: int = 0,
    per_pass: int = 0,
    bar: comfy.utils.ProgressBar | None = None,
) -> None:
    """Matte images [B,H,W,C] pass by pass, see `runner.run_batch`.

    Args:
        model: from a BACKGROUND_REMOVAL socket.
        images: in 0..1.
        deliver: called as deliver(start, stop, pictures, alpha) with the cleaned pictures [b,H,W,C] of each
            pass and their alpha [b,H,W].
        size, per_pass: as for `worker_for`.
        bar: a progress bar to continue.
    """
    if not len(images):
        return
    bar = bar or comfy.utils.ProgressBar(len(images))

    def deliver_and_count(start: int, stop: int, pictures: Tensor, alpha: Tensor) -> None:
        deliver(start, stop, pictures, alpha)
        bar.update(stop - start)

    runner.run_batch(worker_for(model, images, size, per_pass, len(images)), images, deliver_and_count,
                     convert.Cleaner("the image"))


def matte_stream(
    model: object, pictures: Iterator[Tensor], *, size: int = 0, per_pass: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (picture [1,H,W,C] in 0..1, alpha [1,H,W]) for each of `pictures`, see `runner.run_stream`.

    Args:
        model: from a BACKGROUND_REMOVAL socket.
        pictures: [H,W,C] each, all of one shape.
        size, per_pass: as for `worker_for`.
    """
    return runner.run_stream(lambda first: worker_for(model, first[None], size, per_pass), pictures,
                             convert.Cleaner("the video"))
