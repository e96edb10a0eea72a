"""Find, identify and load the checkpoint of a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

import weights

from .. import BiRefNet, CheckpointError, Config, is_out_of_memory, load
from ..checkpoint.load import configure
from ..checkpoint.tensorfile import open_file
from ..device import dtypes
from ..files.hashing import sha256
from ..matting.runner import Host, Runner
from .messages import say
from .options import AdapterOption, CommandError


class Terminal(Host):
    """The command line as a runner's host: prints to stderr."""

    def say_cpu_takes_over(self, device: torch.device) -> None:
        _say_too_small()


def open_model(path: Path, dtype: str, adapters: Sequence[AdapterOption]) -> Runner:
    """Load a checkpoint and its adapters on the GPU, or on the CPU if no GPU has enough memory.

    Prints the checkpoint, device and dtype.

    Args:
        path: the checkpoint's file.
        dtype: a name of `dtypes.DTYPES`, or "auto" for the device's best.
        adapters: files with their strengths.

    Raises:
        CommandError: it cannot be loaded.
    """
    try:
        network = _load(path, "cuda" if torch.cuda.is_available() else "cpu", dtype, adapters)
    except (CheckpointError, OSError) as error:
        raise CommandError(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError(f"Choose a lighter checkpoint: not enough memory to load {path}") from None
    runner = Runner(network, host=Terminal())
    say(f"{describe(path, adapters)} on {runner.preferred_device.type} in "
        f"{dtypes.name(runner.preferred_dtype)}: {network.config.describe()}")
    say_licence(path)
    return runner


def find_checkpoint(name: str) -> Path:
    """Find the file of a checkpoint by catalog name or path. Raises CommandError."""
    try:
        return weights.find(name, weights.folders(), allow_paths=True)
    except OSError as error:  # weights.NotFound is one
        raise CommandError(str(error)) from None


def read_config(path: Path) -> Config:
    """Read a checkpoint's config without building the network. Raises CommandError."""
    detected = dict.fromkeys(("patch_order", "normalize", "size", "multi_scale", "heads", "encoder"), "auto")
    try:
        return configure(open_file(path), detected, weights.settings(path))
    except CheckpointError as error:
        raise CommandError(str(error.at(path))) from None
    except OSError as error:
        raise CommandError(f"Choose another checkpoint: {path}: {error.strerror or error}") from None


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises CommandError."""
    try:
        return sha256(path)
    except OSError as error:
        raise CommandError(f"{path}: cannot be read ({error.strerror or error})") from None


def identify(path: Path, adapters: Sequence[AdapterOption]) -> dict[str, object]:
    """Names and SHA-256 of checkpoint and adapters, by which a resumed run recognises them."""
    stacked = [f"{adapter} {digest(adapter.file)}" for adapter in adapters]
    return {"model": path.name, "sha256": digest(path), **({"adapters": stacked} if stacked else {})}


def describe(path: Path, adapters: Sequence[AdapterOption]) -> str:
    """"birefnet-nano.safetensors + 0.5 x cracks.safetensors"."""
    return " + ".join([path.name, *map(str, adapters)])


def say_licence(path: Path) -> None:
    """Print a line if the checkpoint is for non-commercial use only."""
    row = weights.match(path)
    if row is not None and row.non_commercial:
        say(f"{row.name} is for non-commercial use only ({row.license})")


def _load(path: Path, device: str, dtype: str, adapters: Sequence[AdapterOption]) -> BiRefNet:
    """Load on a device, or on the CPU if that runs out of memory."""
    try:
        return load(path, device=device, dtype=dtype, adapters=adapters, defaults=weights.settings(path))
    except RuntimeError as error:
        if device == "cpu" or not is_out_of_memory(error):
            raise
    _say_too_small()
    Host().release_memory()
    return _load(path, "cpu", dtype, adapters)


def _say_too_small() -> None:
    say("the GPU's memory is too small: continuing on the CPU, which is slower")
