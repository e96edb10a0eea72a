"""Runs one contender in its own process: answers each line of standard input with a timed pass."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from birefnet import load
from birefnet.checkpoint.load import configure
from birefnet.checkpoint.tensorfile import open_file
from birefnet.device.dtypes import DTYPES
from birefnet.matting.predict import matte

from .authors import load_authors
from .resident import peak_resident_bytes, resident_bytes
from .video import frame

SETTINGS = ("patch_order", "normalize", "size", "multi_scale", "heads", "encoder")


def main(job: dict) -> None:
    """Load a network, and run it for each line of standard input.

    Args:
        job: `file`, its `defaults`, `form`, `dtype`, `device` and `size` (H, W); and `result` (.pt, to which
            alpha is saved), or `frames` for a video.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print, which must not mix with the answers
    device, dtype = job["device"], DTYPES[job["dtype"]]

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        started = time.perf_counter()
        model = network(job, device, dtype)
        synchronize(device)
        answer(load=time.perf_counter() - started)
        step = video(model, job, device) if job.get("frames") else still(model, job, device, dtype)
        for _ in sys.stdin:
            started = time.perf_counter()
            step()
            synchronize(device)
            answer(seconds=time.perf_counter() - started, peak=peak_bytes(device),
                   now=allocated_bytes(device))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def network(job: dict, device: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Load the job's form of the network: a function from images [B,3,H,W] to logits [B,1,H,W]."""
    if job["form"] != "authors":
        graphs = job["form"] == "graphs"
        return load(job["file"], device=device, dtype=dtype, form="inference" if graphs else job["form"],
                    cuda_graphs=graphs, defaults=job["defaults"])
    source = open_file(Path(job["file"]))
    config = configure(source, dict.fromkeys(SETTINGS, "auto"), job["defaults"])
    return load_authors(source, config, device, dtype)


def still(
    model: Callable[[Tensor], Tensor], job: dict, device: str, dtype: torch.dtype
) -> Callable[[], None]:
    """Return a function that runs a pass on the common image; the first one saves alpha to `result`."""
    image = picture(*job["size"]).to(device, dtype)
    result = Path(job["result"])

    @torch.inference_mode()
    def step() -> None:
        logits = model(image)
        if not result.exists():
            torch.save(logits.float().sigmoid().cpu(), result)

    return step


def video(model: Callable[[Tensor], Tensor], job: dict, device: str) -> Callable[[], None]:
    """Return a function that mattes the next frame of the video."""
    numbers = iter(range(job["frames"]))
    size = job["size"] and tuple(job["size"])

    def step() -> None:
        matte(model, frame(next(numbers)).to(device), size)

    return step


def picture(height: int, width: int) -> Tensor:
    """Return a test image [1,3,H,W], about standard normal: soft blobs of colour and some noise."""
    dice = torch.Generator().manual_seed(0)
    blobs = torch.nn.functional.interpolate(torch.randn(1, 3, 9, 9, generator=dice), (height, width),
                                            mode="bicubic")
    return blobs + 0.2 * torch.randn(1, 3, height, width, generator=dice)


def synchronize(device: str) -> None:
    """Wait until the device has finished its work."""
    if device != "cpu":
        getattr(torch, device).synchronize()


def peak_bytes(device: str) -> int | None:
    """Return the highest memory so far, in bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return torch.mps.driver_allocated_memory() if device == "mps" else peak_resident_bytes()


def allocated_bytes(device: str) -> int | None:
    """Return the memory that is held now, in bytes."""
    if device == "cuda":
        return torch.cuda.memory_reserved()
    return torch.mps.driver_allocated_memory() if device == "mps" else resident_bytes()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
