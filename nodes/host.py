"""What the nodes need of the host: devices, dtypes, progress, interrupts, memory, folders, and both hosts' schemas."""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import comfy.model_management as mm
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from comfy_execution.utils import get_executing_context

from .. import birefnet
from ..birefnet import passes
from ..birefnet.memory import hand_back
from ..birefnet.precision import DTYPES
from ..weights import FOLDERS

log = logging.getLogger(__name__)

Item = TypeVar("Item")

STALE_AFTER = 15.0  # seconds; unloading all models takes less

handed_back_at = -math.inf  # in seconds of time.monotonic
remarked: tuple[str, str] | None = None  # the prompt and the node of the last remark, which what follows there leaves be

CATEGORY = "image/BiRefNet"
ALIASES = ("background removal", "rembg", "matting", "cutout", "remove bg")  # what users type to find such nodes

# Core's own socket types; hosts older than they are get some of the same name.
BackgroundRemoval = getattr(io, "BackgroundRemoval", None) or io.Custom("BACKGROUND_REMOVAL")
BoundingBox = getattr(io, "BoundingBox", None) or io.Custom("BOUNDING_BOX")


def make(kind: Callable, *args, **words):
    """kind(*args, **words) without the keywords that this host's version of it lacks: `advanced`, `search_aliases`."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{name: value for name, value in words.items() if name in known})


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
            hand_back_at_times()
        mm.soft_empty_cache()  # only here, outside `except`: the error's traceback held the node's tensors
        raise passes.OutOfMemory("out of memory: make the pictures smaller or fewer, or close other programs")

    node.execute = classmethod(execute)
    return node


def hand_back_at_times() -> None:
    """birefnet.memory.hand_back, so seldom that nobody waits for it, nor for memory to come again."""
    global handed_back_at
    if time.monotonic() - handed_back_at > 10:
        hand_back()
        handed_back_at = time.monotonic()


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


def each(items: Sequence[Item], bar: comfy.utils.ProgressBar | None = None) -> Iterator[Item]:
    """The items one by one, with the host's progress bar (`bar`: one that goes on) and an interrupt check before each."""
    bar = bar or comfy.utils.ProgressBar(len(items))
    for item in items:
        check_interrupt()
        yield item
        bar.update(1)


def check_interrupt() -> None:
    """Raise the host's own exception if the user has stopped the queue."""
    mm.throw_exception_if_processing_interrupted()


# Words on the node ---------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Show a line on the running node, to whoever has queued it; does nothing outside a running workflow and on old
    pages."""
    place = running_node()
    if place is None or not page_shows_lines():
        return
    from server import PromptServer

    if PromptServer.instance.client_id is not None:  # without one all pages would be told, of their own nodes
        PromptServer.instance.send_progress_text(text, place[1], PromptServer.instance.client_id)


def running_node() -> tuple[str, str] | None:
    """The prompt, and the node on the page: one that a node has put in its own place (2.0.0.3) is that one (2)."""
    context = get_executing_context()
    return None if context is None else (context.prompt_id, context.node_id.partition(".")[0])


def remark(text: str, usual: str) -> dict[str, tuple[str, ...]] | None:
    """What there is to remark, in the log and on the node, where it stays: give the result to NodeOutput as `ui`. Where
    that is "", only the `usual` line, so that no earlier run's line stays."""
    global remarked
    if text:
        log.warning("BiRef: %s", text)
        say(text)
        remarked = running_node()
        return {"text": (text,)}
    if running_node() != remarked:
        say(usual)
    return None


def say_cpu_takes_over(device: torch.device) -> None:
    log.warning("BiRef: out of memory on %s; going on with the CPU, which is slow", device)
    say("out of GPU memory: going on with the CPU (slow)")


@functools.cache
def page_shows_lines() -> bool:
    """Whether the front end can show a line without harm: older ones (seen in 1.32) save it with the workflow as one
    more widget value, which the next widget that a node gets would take for its own."""
    try:
        version = importlib.metadata.version("comfyui-frontend-package")
        return tuple(map(int, version.split(".")[:2])) >= (1, 45)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False


# Folders -------------------------------------------------------------------------------------------------------------


def register_folders() -> None:
    """Make the folders of this and other packs known to the host, after those of extra_model_paths.yaml."""
    for name in dict.fromkeys(folder.split("/")[0] for folder in FOLDERS):
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))


def checkpoint_folders() -> list[Path]:
    """Where checkpoints may lie, best first. What is fetched goes into the first: models/BiRefNet unless
    extra_model_paths.yaml names another."""
    found = [Path(root, *rest) for name, *rest in (folder.split("/") for folder in FOLDERS)
             for root in folder_paths.get_folder_paths(name)]
    return list(dict.fromkeys(found))


def registered_folders() -> dict[Path, str]:
    """The host's own name for each of these folders; extra_model_paths.yaml may call one anything."""
    return {Path(folder): name for name in FOLDERS if "/" not in name for folder in folder_paths.get_folder_paths(name)}


def download_progress() -> Callable[[int, int], None]:
    """A progress(done, total) in bytes that moves the host's bar and stops when the user does."""
    bar = comfy.utils.ProgressBar(1)

    def progress(done: int, total: int) -> None:
        check_interrupt()
        bar.update_absolute(done, max(total, 1))

    return progress
