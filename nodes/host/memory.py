"""The host's devices, dtypes and memory, and handling of out-of-memory errors."""

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

STALE_SECONDS = 15.0  # longer than the host takes to unload all models
TRIM_SECONDS = 10.0   # between trims of the heap: to allocate returned memory again takes time

trimmed_at = -math.inf  # when the heap was last trimmed, seconds of time.monotonic


def device(choice: str) -> torch.device:
    """Return the device for a widget's choice: "auto" is the host's, "cpu" the processor."""
    return torch.device("cpu") if choice == "cpu" else mm.get_torch_device()


def dtype(choice: str, device: torch.device) -> torch.dtype:
    """Return the dtype for a widget's choice.

    "auto" is the processor's best; on a GPU the first of float16, bfloat16, float32 that the host recommends.
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
    """Whether an error means that memory ran out, according to the host or PyTorch."""
    if hasattr(mm, "is_oom") and mm.is_oom(error):  # also clears CUDA's pending error
        return True
    return birefnet.is_out_of_memory(error)


def retry_while_unloading(change: Callable[[], None]) -> None:
    """Change the host's list of loaded models; retry while another thread unloads models.

    The list is not thread-safe. While the host unloads models, which may take seconds, entries are half
    removed, and code that reads them fails in various ways. After two threads interfered, such an entry may
    stay and crash the host at the next prompt; it is removed after STALE_SECONDS.

    Args:
        change: changes the list; may be called several times.

    Raises:
        Exception: the host's, if the user stops the queue; that of `change`, if it still fails after a second
            and no entry is half removed.
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
                        "models; removed", len(half_gone))
            mm.current_loaded_models[:] = [entry for entry in mm.current_loaded_models
                                           if entry.real_model is not None]
        elif half_gone and not said:
            said = True
            log.info("BiRef: another thread unloads models; waiting for it")
        check_interrupt()
        time.sleep(0.01)


def explain_out_of_memory(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Make a node raise OutOfMemory with advice for the user, and trim the heap at its end.

    By then the node has already tried smaller passes, where they are possible.
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
        raise passes.OutOfMemory("Make the pictures smaller or fewer, or close other programs: out of memory")

    node.execute = classmethod(execute)
    return node


def trim_heap_at_times() -> None:
    """Trim the heap at most every TRIM_SECONDS."""
    global trimmed_at
    if time.monotonic() - trimmed_at > TRIM_SECONDS:
        trim_heap()
        trimmed_at = time.monotonic()


def in_passes(total: int, per_pass: int, run: Callable[[int, int], None], lower: Callable[[], bool]) -> int:
    """`passes.in_passes` with the host's progress bar, and an interrupt check before each pass."""
    bar = comfy.utils.ProgressBar(total)

    def watched(start: int, stop: int) -> None:
        check_interrupt()
        run(start, stop)
        bar.update(stop - start)

    return passes.in_passes(total, per_pass, watched, out_of_memory=is_out_of_memory,
                            relieve=mm.soft_empty_cache, lower=lower)
