"""A checkpoint at work, as every command wants it: found by name, on the best device, with a way out of small memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import weights

from .. import BiRefNet, CheckpointError, Config, is_out_of_memory, load, matte, precision
from ..checkpoint import configure
from ..inference import network_alpha
from ..tensorfile import open_file
from . import CommandError, Stacked


class Runner:
    """A network and what it runs on; once a GPU's memory was too small, everything goes on on the CPU."""

    def __init__(self, model: BiRefNet) -> None:
        self.model = model

    @property
    def device(self) -> str:
        return next(self.model.parameters()).device.type

    def matte(self, image: Tensor | Image.Image, size: int | tuple[int, int] | None = None) -> Tensor:
        """birefnet.matte; out of memory on the CPU too is the caller's."""
        return self._fitting(lambda: matte(self.model, image, size))

    def network_alpha(self, x: Tensor) -> Tensor:
        """birefnet.inference.network_alpha, on the CPU; out of memory as for `matte`.

        All frames go through a GPU at once, and one by one through a CPU, where a pass of many is no faster.
        """
        return self._fitting(lambda: torch.cat([network_alpha(self.model, some).cpu() for some in
                                                x.split(1 if self.device == "cpu" else len(x))]))

    def _fitting(self, work: Callable[[], Tensor]) -> Tensor:
        try:
            return work()
        except RuntimeError as error:
            if self.device == "cpu" or not is_out_of_memory(error):
                raise
        _say_too_small()  # not in `except`: the error holds on to the GPU's tensors
        self.model.to("cpu", torch.float32)  # half precision was for the GPU
        return work()


def open_model(name: str, dtype: str = "auto", adapters: Sequence[Stacked] = ()) -> Runner:
    """The checkpoint of that catalog name or file with its adapters, on the GPU where there is one with memory for it.

    dtype: a name of `precision.DTYPES`, or "auto" for the device's best. Says what runs where; raises `CommandError`.
    """
    path = find_checkpoint(name)
    try:
        runner = Runner(_load(path, "cuda" if torch.cuda.is_available() else "cpu", dtype, adapters))
    except (CheckpointError, OSError) as error:
        raise CommandError(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError(f"{path}: not enough memory to load it; a light checkpoint needs less") from None
    kind = precision.name(next(runner.model.parameters()).dtype)
    say(f"{described(path, adapters)} on {runner.device} in {kind}: {runner.model.config.describe()}")
    say_licence(path)
    return runner


def find_checkpoint(name: str) -> Path:
    """Where the checkpoint of that catalog name or file is; raises `CommandError`."""
    try:
        return weights.find(name, weights.folders(), allow_paths=True)
    except OSError as error:  # weights.NotFound is one
        raise CommandError(str(error)) from None


def read_config(path: Path) -> Config:
    """What a checkpoint's file builds, without building it; raises `CommandError`."""
    told = dict.fromkeys(("patch_order", "normalize", "size", "multi_scale", "heads"), "auto")
    try:
        return configure(open_file(path), told, weights.settings(path))
    except (CheckpointError, OSError) as error:
        raise CommandError(f"{path}: {error}") from None


def described(path: Path, adapters: Sequence[Stacked]) -> str:
    """"birefnet-nano.safetensors + 0.5 x cracks.safetensors"."""
    return " + ".join([path.name, *map(str, adapters)])


def say_licence(path: Path) -> None:
    """The line that a checkpoint for non-commercial use only is due."""
    row = weights.match(path)
    if row is not None and row.non_commercial:
        say(f"{row.name} is for non-commercial use only ({row.license})")


def say(message: str) -> None:
    """One line on stderr, above the progress bar."""
    tqdm.write(message, file=sys.stderr)


def _load(path: Path, device: str, dtype: str, adapters: Sequence[Stacked]) -> BiRefNet:
    kind = precision.best_dtype(device) if dtype == "auto" else precision.DTYPES[dtype]
    try:
        return load(path, device=device, dtype=kind, adapters=adapters, defaults=weights.settings(path))
    except RuntimeError as error:
        if device == "cpu" or not is_out_of_memory(error):
            raise
    _say_too_small()
    return _load(path, "cpu", dtype, adapters)


def _say_too_small() -> None:
    say("the GPU's memory is too small: going on with the CPU, which is slower")
    torch.cuda.empty_cache()
