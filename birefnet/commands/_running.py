"""A checkpoint at work, as every command wants it: found by name, on the best device, with a way out of small memory."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import weights

from .. import BiRefNet, CheckpointError, is_out_of_memory, load, matte, precision
from . import CommandError


class Runner:
    """A network and what it runs on; once a GPU's memory was too small, everything goes on on the CPU."""

    def __init__(self, model: BiRefNet) -> None:
        self.model = model

    @property
    def device(self) -> str:
        return next(self.model.parameters()).device.type

    def matte(self, image: Tensor | Image.Image, size: int | tuple[int, int] | None = None) -> Tensor:
        """birefnet.matte; out of memory on the CPU too is the caller's."""
        try:
            return matte(self.model, image, size)
        except RuntimeError as error:
            if self.device == "cpu" or not is_out_of_memory(error):
                raise
        _say_too_small()  # not in `except`: the error holds on to the GPU's tensors
        self.model.to("cpu", torch.float32)  # half precision was for the GPU
        return matte(self.model, image, size)


def open_model(name: str, dtype: str = "auto") -> Runner:
    """The checkpoint of that catalog name or file, on the GPU where PyTorch has one with memory for it.

    dtype: a name of `precision.DTYPES`, or "auto" for the device's best. Says what runs where; raises `CommandError`.
    """
    try:
        path = weights.find(name, weights.folders(), allow_paths=True)
        runner = Runner(_load(path, "cuda" if torch.cuda.is_available() else "cpu", dtype))
    except (CheckpointError, OSError) as error:  # weights.NotFound is an OSError
        raise CommandError(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError(f"{path}: not enough memory to load it; a light checkpoint needs less") from None
    kind = precision.name(next(runner.model.parameters()).dtype)
    say(f"{path.name} on {runner.device} in {kind}: {runner.model.config.describe()}")
    row = weights.match(path)
    if row is not None and row.non_commercial:
        say(f"{row.name} is for non-commercial use only ({row.license})")
    return runner


def say(message: str) -> None:
    """One line on stderr, above the progress bar."""
    tqdm.write(message, file=sys.stderr)


def _load(path: Path, device: str, dtype: str) -> BiRefNet:
    kind = precision.best_dtype(device) if dtype == "auto" else precision.DTYPES[dtype]
    try:
        return load(path, device=device, dtype=kind, defaults=weights.settings(path))
    except RuntimeError as error:
        if device == "cpu" or not is_out_of_memory(error):
            raise
    _say_too_small()
    return _load(path, "cpu", dtype)


def _say_too_small() -> None:
    say("the GPU's memory is too small: going on with the CPU, which is slower")
    torch.cuda.empty_cache()
