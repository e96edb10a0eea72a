"""The host's devices, dtypes and memory, and what nodes do when memory runs out."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable

import comfy.model_management as mm
import comfy.utils
import torch
from comfy_api.latest import io

from ... import birefnet
from ...birefnet.device import passes
from ...birefnet.device.dtypes import DTYPES
from ...birefnet.device.memory import trim_heap
from .progress import check_interrupt

log = logging.getLogger(__name__)

STALE_SECONDS = 15.0  # unloading all models takes less
TRIM_SECONDS = 10.0   # between two trims of the heap: allocating trimmed memory again takes time

trimmed_at = -math.inf  # seconds of time.monotonic


def device(choice: str) -> torch.device:
    """The device of a widget's choice: for "auto" the host's own, for "cpu" the processor."""
    return torch.device("cpu") if choice == "cpu" else mm.get_torch_device()


def dtype(choice: str, device: torch.device) -> torch.dtype:
    """The dtype of a widget's choice.

    "auto": on a processor its best; on a GPU float16 where the host recommends it, else bfloat16, else
    float32.
    """
    if choice == "fp16" and mm.is_device_cpu(device):
        log.warning("BiRef: computing in fp32: processors have no fast half precision (fp16)")
        return torch.float32
    if choice in DTYPES:
        return DTYPES[choice]
    if mm.is_device_cpu(device):
        return torch.float32 if mm.FORCE_FP32 else birefnet.best_dtype(device)
    if mm.should_use_fp16(device):
        return torch.float16
    return torch.bfloat16 if mm.should_use_bf16(device) else torch.float32


def empty_result(*shape: int) -> torch.Tensor:
    """An uninitialised tensor for results, with the device and dtype of the host's images."""
    dtype = mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32
    return torch.empty(shape, device=mm.intermediate_device(), dtype=dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up, as the host or PyTorch tells it."""
    if hasattr(mm, "is_oom") and mm.is_oom(error):  # also clears CUDA's pending error
        return True
    return birefnet.is_out_of_memory(error)


def despite_unloading(change: Callable[[], None]) -> None:
    """Changes the host's list of loaded models; tries again while another thread is unloading some.

    The list is not thread-safe. From the moment a model is unloaded until all models of that call are, which
    takes a GPU a second or more, its entry is half removed, and code that meets it fails in various ways. If
    two threads interfered, such an entry may stay for good and end the host at the next prompt; so it is
    removed after STALE_SECONDS.

    Raises:
        The host's exception if the user stops the queue; after a second, what `change` raises if no entry is
            half
        removed.
    """
    start = time.monotonic()
    said = False
    while True:
        try:
            return change()
        except (AttributeError, IndexError, TypeError):
            waited = time.monotonic() - start
            half_gone = [entry for entry in mm.current_loaded_models if entry.real_model is None]
            if waited > 1 and not half_gone:
                raise
        if waited > STALE_SECONDS:
            log.warning("BiRef: another node or extension left %d half unloaded in the host's list of loaded "
                        "models; taken out", len(half_gone))
            mm.current_loaded_models[:] = [entry for entry in mm.current_loaded_models
                                           if entry.real_model is not None]
        elif half_gone and not said:
            said = True
            log.info("BiRef: another thread unloads models; waiting for it")
        check_interrupt()
        time.sleep(0.01)


def minding_memory(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Changes a node so that running out of memory is one sentence, and freed memory is returned to the
    system.

    Where passes can be smaller, that has been tried before the sentence is raised.
    """
    plain = node.execute.__func__

    @functools.wraps(plain)
    def execute(cls, *args, **words):
        try:
            return plain(cls, *args, **words)
        except passes.OutOfMemory:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        finally:
            trim_heap_at_times()
        mm.soft_empty_cache()  # only here, outside `except`: the error's traceback held the node's tensors
        raise passes.OutOfMemory("out of memory: make the pictures smaller or fewer, or close other programs")

    node.execute = classmethod(execute)
    return node


def trim_heap_at_times() -> None:
    """Trims the heap at most every TRIM_SECONDS."""
    global trimmed_at
    if time.monotonic() - trimmed_at > TRIM_SECONDS:
        trim_heap()
        trimmed_at = time.monotonic()


def in_passes(total: int, per_pass: int, run: Callable[[int, int], None], lower: Callable[[], bool]) -> int:
    """passes.in_passes with the host's progress bar, and an interrupt check before each pass."""
    bar = comfy.utils.ProgressBar(total)

    def watched(start: int, stop: int) -> None:
        check_interrupt()
        run(start, stop)
        bar.update(stop - start)

    return passes.in_passes(total, per_pass, watched, out_of_memory=is_out_of_memory,
                            relieve=mm.soft_empty_cache, lower=lower)
