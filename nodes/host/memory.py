"""The host's devices and dtypes, and what to do when its memory runs out."""

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

STALE_AFTER = 15.0  # seconds; unloading all models takes less

trimmed_at = -math.inf  # in seconds of time.monotonic

# Devices and memory ------------------------------------------------------------------------------------------------


def device(choice: str) -> torch.device:
    """"auto" is the host's device for networks, "cpu" the processor."""
    return torch.device("cpu") if choice == "cpu" else mm.get_torch_device()


def dtype(choice: str, device: torch.device) -> torch.dtype:
    """A dtype by its name; "auto" is the best of a processor, on a GPU float16 where the host recommends it, then
    bfloat16, then float32."""
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
    """Room for results, on the device and in the dtype in which nodes hand on their images."""
    dtype = mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32
    return torch.empty(shape, device=mm.intermediate_device(), dtype=dtype)


def is_out_of_memory(error: BaseException) -> bool:
    if hasattr(mm, "is_oom") and mm.is_oom(error):  # also clears CUDA's pending error
        return True
    return birefnet.is_out_of_memory(error)


def despite_unloading(change: Callable[[], None]) -> None:
    """Change the host's list of loaded models, again where another thread was unloading some meanwhile.

    The list is not made for two threads: entries are half gone from when their model is unloaded until all that are to go
    have been, which takes a GPU a second or more, and what comes upon one fails in its own way. If two threads were in each
    other's way, one may stay for good, and the host ends when it comes upon it at the next prompt; so it is taken out after
    `STALE_AFTER` seconds. Raises the host's exception if the user stops the queue, and after a second what `change` raises
    where no entry is half gone.
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
        if waited > STALE_AFTER:
            log.warning("BiRef: another node or extension left %d half unloaded in the host's list of loaded models; taken "
                        "out", len(half_gone))
            mm.current_loaded_models[:] = [entry for entry in mm.current_loaded_models if entry.real_model is not None]
        elif half_gone and not said:
            said = True
            log.info("BiRef: another thread unloads models; waiting for it")
        check_interrupt()
        time.sleep(0.01)


def minding_memory(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node, in place, with one sentence wherever memory runs out in it (where passes can be smaller, they have been
    tried before), and which hands back what it has freed."""
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
    """birefnet.device.memory.trim_heap, so seldom that nobody waits for it, nor for memory to come again."""
    global trimmed_at
    if time.monotonic() - trimmed_at > 10:
        trim_heap()
        trimmed_at = time.monotonic()


def in_passes(total: int, per_pass: int, run: Callable[[int, int], None], lower: Callable[[], bool],
              bar: comfy.utils.ProgressBar | None = None) -> int:
    """passes.in_passes with the host's progress bar (`bar`: one that goes on), and an interrupt check before each pass."""
    bar = bar or comfy.utils.ProgressBar(total)

    def watched(start: int, stop: int) -> None:
        check_interrupt()
        run(start, stop)
        bar.update(stop - start)

    return passes.in_passes(total, per_pass, watched, out_of_memory=is_out_of_memory, relieve=mm.soft_empty_cache,
                            lower=lower)


# Words on the node ---------------------------------------------------------------------------------------------------


# Folders -------------------------------------------------------------------------------------------------------------


