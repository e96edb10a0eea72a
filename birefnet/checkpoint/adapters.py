"""Adapters: small files with what fine-tuning changed, added to a checkpoint's tensors as these are read.

A file stores changes in either of two ways, or in both:

- low rank, for linear layers and 1×1 convolutions (Hu et al. 2021, "LoRA"): `<module>.lora_A.weight` [r,in]
  and `<module>.lora_B.weight` [out,r]; (alpha/r)·B·A, [out,in], is added to `<module>.weight`;
- a difference: `<tensor>.diff`, in the shape of the tensor.

A change is multiplied by the adapter's strength and added in float32, before layers are merged for inference
and before values are rounded to half precision. The resulting network costs no more than the checkpoint
alone, and any number of adapters can be added.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..files.errors import CheckpointError
from ..network.birefnet import BiRefNet
from ..network.config import Config
from .source import TensorSource
from .tensorfile import from_mapping, open_file, write_safetensors

log = logging.getLogger(__name__)

KIND_ENTRY = "birefnet.adapter"  # metadata entry that only adapters have, not checkpoints
LOW_A, LOW_B, DIFFERENCE = ".lora_A.weight", ".lora_B.weight", ".diff"
STORED_DTYPE = torch.float16  # rounds a change by 1/4096 of itself at most

# Small tensors that differ between nearly all checkpoints, and that no adapter of either kind changes.
FINGERPRINT_TENSORS = (
    "bb.patch_embed.proj.weight", "bb.patch_embed1.proj.weight", "bb.norm3.weight", "bb.norm3.bias",
    "squeeze_module.0.conv_in.bias")


@dataclass(frozen=True)
class Adapter:
    """The change of a checkpoint's tensors that fine-tuning has made.

    Args:
        tensors: named as the module's docstring says, on the CPU.
        metadata: `birefnet.adapter` is the kind, "lora" or "head"; `birefnet.base` describes the build it was
            trained on, `birefnet.base_fingerprint` identifies the checkpoint (see `fingerprint`);
            `birefnet.rank` and `birefnet.alpha` belong to low-rank pairs.
        name: the adapter's name in messages.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    name: str = "in memory"

    @property
    def scale(self) -> float:
        """alpha / rank, the factor of low-rank products; 1 if the metadata has no alpha.

        Raises:
            CheckpointError: alpha is not a finite number.
        """
        rank = next((len(tensor) for name, tensor in self.tensors.items() if name.endswith(LOW_A)), 1)
        text = self.metadata.get("birefnet.alpha", str(rank))
        try:
            alpha = float(text)
        except ValueError:
            alpha = math.nan
        if not math.isfinite(alpha):
            raise CheckpointError("Correct birefnet.alpha in the adapter's metadata",
                                  f"it is {text!r}; expected a number")
        return alpha / rank

    def targets(self) -> dict[str, tuple[int, ...]]:
        """Return the checkpoint's tensors that change and their shapes, without sides of 1 at the end."""
        found = {}
        for name, tensor in self.tensors.items():
            if name.endswith(DIFFERENCE):
                found[name.removesuffix(DIFFERENCE)] = tuple(tensor.shape)
            elif name.endswith(LOW_A):
                module = name.removesuffix(LOW_A)
                found[f"{module}.weight"] = (len(self.tensors[module + LOW_B]), tensor.shape[1])
        return found

    def change(self, target: str) -> Tensor | None:
        """Return what strength 1 adds to the target, float32 on the CPU; None for an unchanged target."""
        difference = self.tensors.get(target + DIFFERENCE)
        if difference is not None:
            return difference.float()
        module = target.removesuffix(".weight")
        if module + LOW_A not in self.tensors:
            return None
        return self.scale * (self.tensors[module + LOW_B].float() @ self.tensors[module + LOW_A].float())

    def save(self, path: str | os.PathLike) -> None:
        """Write a .safetensors file atomically. Raises OSError."""
        state = {name: tensor.to(STORED_DTYPE).contiguous() for name, tensor in self.tensors.items()}
        write_safetensors(Path(path), state, {"format": "pt", **self.metadata})


def read(path: str | os.PathLike) -> Adapter:
    """Read an adapter from its file.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged or is not an adapter.
    """
    try:
        opened = open_file(Path(path))
        tensors = {name: opened.tensor(name, "cpu", torch.float32) for name in opened.names
                   if name.endswith((LOW_A, LOW_B, DIFFERENCE))}
        adapter = Adapter(tensors, opened.metadata, Path(path).name)
        check_tensors(adapter, sorted(opened.names.keys() - tensors.keys()))
    except CheckpointError as error:
        raise error.at(path) from None
    return adapter


def check_tensors(adapter: Adapter, others: Sequence[str]) -> None:
    """Raise CheckpointError for an adapter that fits no checkpoint. others: the file's other tensors."""
    tensors = adapter.tensors
    if any(name.startswith("decoder.decoder_block") for name in others):
        raise CheckpointError("Choose it as the checkpoint", "this is a whole checkpoint, not an adapter")
    if others or not tensors:
        raise CheckpointError("Choose another adapter",
                              f"this is not a BiRefNet adapter: expected tensors named …{LOW_A} and "
                              f"…{LOW_B}, or …{DIFFERENCE}, found {', '.join(others[:3]) or 'none'}")
    for name, tensor in tensors.items():
        module = name.removesuffix(LOW_A).removesuffix(LOW_B)
        if module != name:
            pair = [tensors.get(module + half) for half in (LOW_A, LOW_B)]
            matrices = all(half is not None and half.ndim == 2 for half in pair)
            if not matrices or not 0 < len(pair[0]) == pair[1].shape[1]:
                raise CheckpointError("Choose another adapter",
                                      f"its low-rank pair of {module} does not fit together: expected "
                                      "lora_A [rank, in] and lora_B [out, rank]")
        if not tensor.isfinite().all():
            raise CheckpointError("Train the adapter again, or choose another",
                                  f"its {name} has values that are not numbers (NaN)")
    ranks = {len(tensor) for name, tensor in tensors.items() if name.endswith(LOW_A)}
    if len(ranks) > 1:
        raise CheckpointError("Choose another adapter",
                              f"its low-rank pairs have ranks {sorted(ranks)}; expected one rank")
    adapter.scale  # raises if alpha is not a number


def add_adapters(
    source: TensorSource, config: Config, adapters: Sequence[tuple[Adapter, float]]
) -> TensorSource:
    """Add adapters to a checkpoint's tensors, one tensor at a time, as it is read.

    Args:
        source: the checkpoint's tensors.
        config: its build.
        adapters: each with its strength, any finite number.

    Returns:
        A source of the sums: tensor + Σ strength·change.

    Raises:
        CheckpointError: an adapter was made for another build. If it was made for another checkpoint of the
            same build, a warning is logged.
    """
    for adapter, strength in adapters:
        if not math.isfinite(strength):
            raise CheckpointError(f"Set the strength of adapter {adapter.name} to a finite number",
                                  f"the strength is {strength}")
        check_fit(adapter, source, config)
    target_of = {name: target for target, name in source.names.items()}

    def read_changed(name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        changes = [(adapter.change(target_of[name]), strength) for adapter, strength in adapters if strength]
        changes = [(change, strength) for change, strength in changes if change is not None]
        if not changes:
            return source.read(name, device, dtype)
        tensor = source.read(name, device, torch.float32)
        for change, strength in changes:
            change = change.to(device).view(tensor.shape)
            tensor = tensor.add(change, alpha=strength)  # a copy: the source may hand out its own tensor
        return tensor.to(dtype)

    return dataclasses.replace(source, read=read_changed)


def check_fit(adapter: Adapter, source: TensorSource, config: Config) -> None:
    """Raise CheckpointError for an adapter of another build; warn of one made on another checkpoint."""
    made_on = adapter.metadata.get("birefnet.base", "another build")
    for name, shape in adapter.targets().items():
        there = source.shapes.get(name)
        if there is None or there[:len(shape)] != shape or set(there[len(shape):]) - {1}:
            found = f"is {list(there)} here, not {list(shape)}" if there else "is not in this checkpoint"
            raise CheckpointError("Choose the checkpoint that the adapter was made on",
                                  f"the adapter {adapter.name} does not fit: it was made on {made_on}, and "
                                  f"this checkpoint is {config.describe()} ({name} {found})")
    wanted = adapter.metadata.get("birefnet.base_fingerprint")
    if wanted and wanted != fingerprint(source):
        log.warning("the adapter %s was made on another checkpoint of the same build (%s): it may help "
                    "less or do harm", adapter.name, made_on)


def fingerprint(source: TensorSource) -> str:
    """Return 16 hex digits that identify a checkpoint; equal for a float32 file and its copy in float16."""
    digest = hashlib.sha256()
    for name in FINGERPRINT_TENSORS:
        if name in source.shapes:
            values = source.tensor(name, "cpu", torch.float16).contiguous()
            digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def make_metadata(kind: str, model: BiRefNet, rank: int = 0, alpha: float = 0.0) -> dict[str, str]:
    """Make the metadata of an adapter trained on a plain network; rank and alpha for kind "lora"."""
    base = {KIND_ENTRY: kind, "birefnet.base": model.config.describe(), "birefnet.task": model.config.task,
            "birefnet.base_fingerprint": fingerprint(from_mapping(model.state_dict(), copy=False))}
    return base | ({"birefnet.rank": str(rank), "birefnet.alpha": str(alpha)} if rank else {})
