"""Runs contenders in turns on this machine, and collects time and memory as rows of numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import weights
from birefnet import CheckpointError, Config, load, network_size
from birefnet.checkpoint.load import configure
from birefnet.checkpoint.tensorfile import open_file
from birefnet.cli.options import CommandError
from birefnet.device.dtypes import DTYPES
from birefnet.export.graph import Contract, write_graph
from birefnet.network.builds import BACKBONES, TIMM

from .builds import operations, parameters, random_file, write_random
from .contender import Contender
from .rate import product_rate
from .runtime import RUNTIMES
from .worker import SETTINGS, picture

WARM_UP_FRAMES = 20  # frames after which a video's memory should no longer grow


class Checkpoint:
    """A model from the command line: its name, file, settings in the catalog, and config.

    Args:
        name: a checkpoint's name or file, or an encoder for random weights.
        scratch: folder for files with random weights.

    Raises:
        CommandError: there is no such checkpoint, or it cannot be read.
    """

    def __init__(self, name: str, scratch: Path) -> None:
        self.name = name
        try:
            if name in BACKBONES or name.startswith(TIMM):
                self.file, self.defaults = random_file(name, scratch), {}
                write_random(name, self.file)
            else:
                self.file = weights.find(name, weights.folders(), allow_paths=True)
                self.defaults = weights.settings(self.file)
            source = open_file(self.file)
            self.config: Config = configure(source, dict.fromkeys(SETTINGS, "auto"), self.defaults)
        except (CheckpointError, OSError) as error:  # weights.NotFound is an OSError
            raise CommandError(str(error)) from None

    def job(self, form: str, dtype: str, device: str, size: tuple[int, int]) -> dict:
        """Return the description of a contender for worker.py."""
        return {"file": str(self.file), "defaults": self.defaults,
                "form": form, "dtype": dtype, "device": device, "size": size}

    def size(self, wanted: int | tuple[int, int] | None) -> tuple[int, int]:
        """(H, W) of the network for the user's size; 1024² for a dynamic checkpoint without one."""
        return network_size(self.config, 1024, 1024, wanted)


@contextmanager
def contenders(jobs: list[dict], reference: Path | None) -> Iterator[list[Contender]]:
    """Start a process for each job, one after the other; end all of them in any case."""
    started: list[Contender] = []
    try:
        for job in jobs:
            started.append(Contender(job, reference))
        yield started
    finally:
        for contender in started:
            contender.end()


def contest(checkpoint: Checkpoint, size: tuple[int, int], dtypes: list[str], device: str, runs: int,
            reference: Path | None, runtimes: Sequence[str] = ()) -> dict:
    """Measure all forms in all number formats, in turns; fp32 is always included, for comparison.

    Args:
        checkpoint: the model.
        size: of the network's input, (H, W).
        dtypes: names of number formats.
        device: "cpu", "cuda" or "mps".
        runs: timed passes of each contender.
        reference: a checkout of the authors' code, or None.
        runtimes: names from runtime.RUNTIMES, which run exported files in fp32.

    Returns:
        See `summary`.
    """
    forms = ["authors"] * (reference is not None) + ["plain", "inference"] + ["graphs"] * (device == "cuda")
    entries = [(form, dtype) for form in forms for dtype in dict.fromkeys(["fp32", *dtypes])
               if dtype in dtypes or form in ("authors", "plain")]
    rates: dict[str, list[float]] = {dtype: [] for dtype in dict.fromkeys(["fp32", *dtypes])}
    with tempfile.TemporaryDirectory() as scratch:
        jobs = [{**checkpoint.job(form, dtype, device, size), "result": f"{scratch}/{form}-{dtype}.pt"}
                for form, dtype in entries]
        jobs += runtime_jobs(checkpoint, size, runtimes, Path(scratch))
        with contenders(jobs, reference) as entrants:
            for contender in entrants:
                contender.step()
            alphas = {(contender.form, contender.dtype): read_alpha(contender.result)
                      for contender in entrants if not contender.error}
            for _ in range(runs):
                for dtype, measured in rates.items():
                    measured.append(product_rate(DTYPES[dtype], device))
                for contender in entrants:
                    contender.time()
    return summary(checkpoint, size, entrants, alphas,
                   {dtype: max(found) for dtype, found in rates.items()})


def runtime_jobs(checkpoint: Checkpoint, size: tuple[int, int], runtimes: Sequence[str], scratch: Path
                 ) -> list[dict]:
    """Write the files that other runtimes need (exported network, image), and return their jobs."""
    image = scratch / "image.npy"
    if runtimes:
        np.save(image, picture(*size).numpy())
    files: dict[bool, Path] = {}
    for name in runtimes:
        portable = RUNTIMES[name]
        if portable not in files:
            files[portable] = scratch / ("portable.onnx" if portable else "native.onnx")
            network = load(checkpoint.file, form="plain", defaults=checkpoint.defaults)
            write_graph(network, Contract(raw=True, portable=portable), files[portable])
    return [{"file": str(files[RUNTIMES[name]]), "form": name, "dtype": "fp32", "image": str(image),
             "result": str(scratch / f"{name}.npy"), "threads": torch.get_num_threads()} for name in runtimes]


def read_alpha(path: str) -> torch.Tensor:
    return torch.from_numpy(np.load(path)) if path.endswith(".npy") else torch.load(path, weights_only=True)


def summary(checkpoint: Checkpoint, size: tuple[int, int], entrants: list[Contender],
            alphas: dict[tuple[str, str], torch.Tensor], rates: dict[str, float]) -> dict:
    """Return the numbers for JSON: seconds, bytes, operations, operations per second; shares as fractions."""
    flops = operations(checkpoint.config, size)
    first = next(contender for contender in entrants if not contender.error and contender.dtype == "fp32")
    truth = alphas.get(("plain", "fp32"))
    rows = []
    for contender in entrants:
        row = {"form": contender.form, "dtype": contender.dtype}
        if contender.error:
            rows.append({**row, "error": contender.error})
            continue
        seconds, peak = contender.median(), contender.last["peak"]
        alpha = alphas.get((contender.form, contender.dtype))
        difference = None if truth is None else (alpha - truth).abs().max().item()
        rows.append({**row, "seconds": seconds, "passes": contender.seconds,
                     "times": first.median() / seconds,
                     "peak": peak, "memory": peak and peak / first.last["peak"],
                     "floor": flops / rates[contender.dtype] / seconds, "difference": difference,
                     "load": contender.load})
    return {"model": checkpoint.name, "build": checkpoint.config.describe(), "size": size,
            "operations": flops, "parameters": parameters(checkpoint.config),
            "rates": rates, "rows": rows}


def measure_video(
    checkpoint: Checkpoint, size: int | tuple[int, int] | None, dtype: str, device: str, frames: int
) -> dict:
    """Matte a video with the inference form, frame by frame; frames/s without the first, and memory."""
    size = checkpoint.size(size)
    job = {**checkpoint.job("inference", dtype, device, size), "frames": frames}
    held = []
    with contenders([job], None) as (contender,):
        for number in range(frames):
            answer = contender.step() if not number else (contender.time(), contender.last)[1]
            held.append(answer.get("now"))
    if contender.error:
        raise CommandError(f"{checkpoint.name} in {dtype}: {contender.error}")
    return {"model": checkpoint.name, "size": size, "dtype": dtype, "frames": frames,
            "rate": len(contender.seconds) / sum(contender.seconds),
            "settled": held[min(WARM_UP_FRAMES, frames) - 1],
            "end": held[-1], "peak": contender.last["peak"]}
