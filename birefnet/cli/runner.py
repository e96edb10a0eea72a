"""A checkpoint at work, as every command wants it: found by name, on the best device, with a way out of small memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import weights

from .. import BiRefNet, CheckpointError, Config, free_memory, is_out_of_memory, load, matte, place, plan
from ..checkpoint.load import configure
from ..checkpoint.tensorfile import open_file
from ..device import dtypes as precision
from ..device import passes
from ..device.memory import FALLBACK_BUDGETS, PLANNED_SHARE
from ..files.hashing import sha256
from ..matting.predict import network_alpha
from ..network.config import network_size
from .options import CommandError, Stacked


class Runner:
    """A network and what it runs on. Where a GPU's memory runs out, passes halve, then the network's steps get smaller,
    and then the CPU takes over, until a picture comes that the network sees smaller."""

    def __init__(self, model: BiRefNet) -> None:
        self.model = model
        self.home = self.device, next(model.parameters()).dtype
        self.too_large: int | None = None  # pixels for which the network had to leave its home

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def matte(self, image: Tensor, size: int | tuple[int, int] | None = None) -> Tensor:
        """birefnet.matte of one picture [1,H,W,C]; `passes.OutOfMemory` where it does not fit the CPU either."""
        seen = network_size(self.model.config, *image.shape[1:3], size)
        return self._in_passes(1, seen, lambda start, stop: matte(self.model, image, size))

    def network_alpha(self, x: Tensor) -> Tensor:
        """birefnet.matting.predict.network_alpha, on the CPU; out of memory as for `matte`."""
        return self._in_passes(len(x), tuple(x.shape[2:]),
                               lambda start, stop: network_alpha(self.model, x[start:stop]).cpu())

    def _in_passes(self, total: int, seen: tuple[int, int], run: Callable[[int, int], Tensor]) -> Tensor:
        """What run(start, stop) gives for all frames, which the network sees at `seen` (H, W), one behind the other."""
        self._come_home(seen)
        free = free_memory(self.device)
        # All of a processor's cores work on one frame already.
        planned = plan(self.model, seen, 1 if self.device.type == "cpu" else total,
                       None if free is None else int(PLANNED_SHARE * free))
        self.model.budget_bytes, done = planned.budget, []
        passes.in_passes(total, planned.frames, lambda start, stop: done.append(run(start, stop)),
                         out_of_memory=is_out_of_memory, relieve=_relieve, lower=lambda: self._lower(seen))
        return torch.cat(done)

    def _lower(self, seen: tuple[int, int]) -> bool:
        budget = self.model.budget_bytes
        if tighter := [step for step in FALLBACK_BUDGETS if budget is None or step < budget]:
            self.model.budget_bytes = tighter[0]
            return True
        if self.device.type == "cpu":
            return False
        _say_too_small()
        place(self.model, "cpu", torch.float32)  # half precision was for the GPU
        self.model.budget_bytes, self.too_large = None, seen[0] * seen[1]
        return True

    def _come_home(self, seen: tuple[int, int]) -> None:
        if self.too_large is None or seen[0] * seen[1] >= self.too_large:
            return
        try:
            place(self.model, *self.home)
            self.too_large = None
            return
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        place(self.model, "cpu", torch.float32)


def _relieve() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def open_model(path: Path, dtype: str, adapters: Sequence[Stacked]) -> Runner:
    """The checkpoint in a file with its adapters, on the GPU where there is one with memory for it.

    dtype: a name of `precision.DTYPES`, or "auto" for the device's best. Says what runs where; raises `CommandError`.
    """
    try:
        runner = Runner(_load(path, "cuda" if torch.cuda.is_available() else "cpu", dtype, adapters))
    except (CheckpointError, OSError) as error:
        raise CommandError(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError(f"{path}: not enough memory to load it; a light checkpoint needs less") from None
    kind = precision.name(next(runner.model.parameters()).dtype)
    say(f"{described(path, adapters)} on {runner.device.type} in {kind}: {runner.model.config.describe()}")
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


def digest(path: Path) -> str:
    """The SHA-256 of a file; raises `CommandError`."""
    try:
        return sha256(path)
    except OSError as error:
        raise CommandError(f"{path}: cannot be read ({error.strerror or error})") from None


def about(path: Path, adapters: Sequence[Stacked]) -> dict[str, object]:
    """What a run that goes on asks: whether checkpoint and adapters are still the same."""
    stacked = [f"{adapter} {digest(adapter.file)}" for adapter in adapters]
    return {"model": path.name, "sha256": digest(path), **({"adapters": stacked} if stacked else {})}


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
    try:
        return load(path, device=device, dtype=dtype, adapters=adapters, defaults=weights.settings(path))
    except RuntimeError as error:
        if device == "cpu" or not is_out_of_memory(error):
            raise
    _say_too_small()
    _relieve()
    return _load(path, "cpu", dtype, adapters)


def _say_too_small() -> None:
    say("the GPU's memory is too small: going on with the CPU, which is slower")
