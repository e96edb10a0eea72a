"""Adapters: small files of what fine-tuning changed, added to a checkpoint's tensors while these are read.

Two ways to say a change, and a file may hold both:

- low rank, in linear layers and 1×1 convolutions (Hu et al. 2021, "LoRA"): `<module>.lora_A.weight` [r,in] and
  `<module>.lora_B.weight` [out,r] stand for (alpha/r)·B·A, [out,in], on `<module>.weight`;
- a difference: `<tensor>.diff`, of the tensor's own shape.

Either is multiplied by a strength and added in float32, before the inference form composes and before a half precision
rounds: what comes out costs what the checkpoint alone costs, and any number of adapters stack.
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
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.errors import CheckpointError
from ..network.birefnet import BiRefNet
from ..network.config import Config
from .tensorfile import Source, from_mapping, open_file, write_safetensors

log = logging.getLogger(__name__)

KINDS = ("lora", "head")
MARK = "birefnet.adapter"  # the metadata entry that tells an adapter from a checkpoint
LOW_A, LOW_B, DIFFERENCE = ".lora_A.weight", ".lora_B.weight", ".diff"
STORED = torch.float16     # of an adapter's tensors: half a unit in 2048 of a change is nothing

# Small tensors that hardly any two checkpoints share, and that no adapter of either kind changes.
FINGERS = ("bb.patch_embed.proj.weight", "bb.patch_embed1.proj.weight", "bb.norm3.weight", "bb.norm3.bias",
           "squeeze_module.0.conv_in.bias")


@dataclass(frozen=True)
class Adapter:
    """What was learned on top of a checkpoint: tensors by the names above, on the CPU, and metadata.

    `birefnet.adapter` in the metadata is the kind, "lora" or "head"; `birefnet.base` the build it belongs to and
    `birefnet.base_fingerprint` the very checkpoint; `birefnet.rank` and `birefnet.alpha` are those of low-rank pairs.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    name: str = "in memory"

    @property
    def scale(self) -> float:
        """alpha / rank; where the file has no alpha, 1, as if it were the rank."""
        rank = next((len(tensor) for name, tensor in self.tensors.items() if name.endswith(LOW_A)), 1)
        text = self.metadata.get("birefnet.alpha", str(rank))
        try:
            alpha = float(text)
        except ValueError:
            alpha = math.nan
        if not math.isfinite(alpha):
            raise CheckpointError(f"in the adapter's metadata, birefnet.alpha is {text!r}; expected a number")
        return alpha / rank

    def targets(self) -> dict[str, tuple[int, ...]]:
        """The checkpoint's tensors that it changes, and the shapes that these must have, but for sides of 1 at the end."""
        found = {}
        for name, tensor in self.tensors.items():
            if name.endswith(DIFFERENCE):
                found[name.removesuffix(DIFFERENCE)] = tuple(tensor.shape)
            elif name.endswith(LOW_A):
                module = name.removesuffix(LOW_A)
                found[f"{module}.weight"] = (len(self.tensors[module + LOW_B]), tensor.shape[1])
        return found

    def change(self, target: str) -> Tensor | None:
        """What strength 1 adds to a tensor, float32 on the CPU; None where it changes nothing."""
        difference = self.tensors.get(target + DIFFERENCE)
        if difference is not None:
            return difference.float()
        module = target.removesuffix(".weight")
        if module + LOW_A not in self.tensors:
            return None
        return self.scale * (self.tensors[module + LOW_B].float() @ self.tensors[module + LOW_A].float())

    def save(self, path: str | os.PathLike) -> None:
        """Write a .safetensors file; an old one stays until the new one is whole."""
        state = {name: tensor.to(STORED).contiguous() for name, tensor in self.tensors.items()}
        write_safetensors(Path(path), state, {"format": "pt", **self.metadata})


# Reading ---------------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike) -> Adapter:
    """An adapter from its file. Raises FileNotFoundError, and CheckpointError for a file that is none or is damaged."""
    try:
        opened = open_file(Path(path))
        tensors = {name: opened.tensor(name, "cpu", torch.float32) for name in opened.names
                   if name.endswith((LOW_A, LOW_B, DIFFERENCE))}
        adapter = Adapter(tensors, opened.metadata, Path(path).name)
        check(adapter, sorted(opened.names.keys() - tensors.keys()))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return adapter


def check(adapter: Adapter, others: Sequence[str]) -> None:
    """Raise CheckpointError for what cannot be added to any checkpoint; `others`: names that mean nothing here."""
    tensors = adapter.tensors
    if any(name.startswith("decoder.decoder_block") for name in others):
        raise CheckpointError("this is a whole checkpoint, not an adapter: choose it as the checkpoint itself")
    if others or not tensors:
        raise CheckpointError(f"not a BiRefNet adapter: expected tensors named …{LOW_A} and …{LOW_B}, or "
                              f"…{DIFFERENCE}, found {', '.join(others[:3]) or 'none'}")
    for name, tensor in tensors.items():
        module = name.removesuffix(LOW_A).removesuffix(LOW_B)
        if module != name:
            pair = [tensors.get(module + half) for half in (LOW_A, LOW_B)]
            if any(half is None or half.ndim != 2 for half in pair) or not 0 < len(pair[0]) == pair[1].shape[1]:
                raise CheckpointError(f"the adapter's low-rank pair of {module} does not fit together: expected "
                                      f"lora_A [rank, in] and lora_B [out, rank]")
        if not tensor.isfinite().all():
            raise CheckpointError(f"the adapter's {name} has values that are no numbers: its training went wrong")
    ranks = {len(tensor) for name, tensor in tensors.items() if name.endswith(LOW_A)}
    if len(ranks) > 1:
        raise CheckpointError(f"the adapter's low-rank pairs have ranks {sorted(ranks)}; expected one rank")
    adapter.scale  # raises for an alpha that is no number


def adapted(source: Source, config: Config, adapters: Sequence[tuple[Adapter, float]]) -> Source:
    """A checkpoint's tensors with adapters added, each times its strength; one tensor at a time, when it is read.

    Raises CheckpointError for an adapter of another build; one of another checkpoint of the same build is warned of.
    """
    for adapter, strength in adapters:
        if not math.isfinite(strength):
            raise CheckpointError(f"the strength of adapter {adapter.name} is {strength}; expected a finite number")
        fit(adapter, source, config)
    own = {name: clean for clean, name in source.names.items()}

    def read_changed(name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        changes = [(adapter.change(own[name]), strength) for adapter, strength in adapters if strength]
        changes = [(change, strength) for change, strength in changes if change is not None]
        if not changes:
            return source.read(name, device, dtype)
        tensor = source.read(name, device, torch.float32)
        for change, strength in changes:
            change = change.to(device).view(tensor.shape)
            tensor = tensor.add(change, alpha=strength)  # a copy: the source may hand out its own tensor
        return tensor.to(dtype)

    return dataclasses.replace(source, read=read_changed)


def fit(adapter: Adapter, source: Source, config: Config) -> None:
    """Whether an adapter belongs to a checkpoint."""
    made_on = adapter.metadata.get("birefnet.base", "another build")
    for name, shape in adapter.targets().items():
        there = source.shapes.get(name)
        if there is None or there[:len(shape)] != shape or set(there[len(shape):]) - {1}:
            found = f"is {list(there)} here, not {list(shape)}" if there else "is not in this checkpoint"
            raise CheckpointError(f"the adapter {adapter.name} does not fit: it was made on {made_on}, and this "
                                  f"checkpoint is {config.describe()} ({name} {found}); choose the one that it was made on")
    wanted = adapter.metadata.get("birefnet.base_fingerprint")
    if wanted and wanted != fingerprint(source):
        log.warning("the adapter %s was made on another checkpoint of the same build (%s): it may do less than it "
                    "should, or harm", adapter.name, made_on)


def fingerprint(source: Source) -> str:
    """16 hex digits that tell checkpoints apart; the same for a file in float32 and its copy in float16."""
    digest = hashlib.sha256()
    for name in FINGERS:
        if name in source.shapes:
            digest.update(source.tensor(name, "cpu", torch.float16).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def about(kind: str, model: BiRefNet, rank: int = 0, alpha: float = 0.0) -> dict[str, str]:
    """The metadata of an adapter that is learned on a plain network."""
    base = {MARK: kind, "birefnet.base": model.config.describe(), "birefnet.task": model.config.task,
            "birefnet.base_fingerprint": fingerprint(from_mapping(model.state_dict(), copy=False))}
    return base | ({"birefnet.rank": str(rank), "birefnet.alpha": str(alpha)} if rank else {})


# Learning ----------------------------------------------------------------------------------------------------------


class LowRankLinear(nn.Linear):
    """y = x·Wᵀ + b + (alpha/r)·x·Aᵀ·Bᵀ, which begins as the layer it replaces: B is zero (Hu et al. 2021)."""

    def __init__(self, plain: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None, device="meta")
        self.weight, self.bias, self.scale = plain.weight, plain.bias, alpha / rank
        self.lora_A, self.lora_B = low_rank_pair(plain.weight, rank, generator)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * self.lora_B(self.lora_A(x))


class LowRankConv(nn.Conv2d):
    """The same for a 1×1 convolution, which is a linear layer of every pixel."""

    def __init__(self, plain: nn.Conv2d, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__(plain.in_channels, plain.out_channels, 1, bias=plain.bias is not None, device="meta")
        self.weight, self.bias, self.scale = plain.weight, plain.bias, alpha / rank
        self.lora_A, self.lora_B = low_rank_pair(plain.weight, rank, generator)

    def forward(self, x: Tensor) -> Tensor:
        down, up = (pair.weight[:, :, None, None] for pair in (self.lora_A, self.lora_B))
        return super().forward(x) + self.scale * F.conv2d(F.conv2d(x, down), up)


def low_rank_pair(weight: Tensor, rank: int, generator: torch.Generator) -> tuple[nn.Linear, nn.Linear]:
    """A, drawn at random, and B, zero, for a weight [out,in,...]."""
    out, channels = weight.shape[:2]
    start = (2 * torch.rand(rank, channels, generator=generator) - 1) * channels**-0.5
    down = nn.Linear(channels, rank, bias=False, device="meta")
    up = nn.Linear(rank, out, bias=False, device="meta")
    down.weight = nn.Parameter(start.to(weight.device))
    up.weight = nn.Parameter(torch.zeros(out, rank, device=weight.device))
    return down, up


def make_low_rank(model: BiRefNet, rank: int, alpha: float, seed: int) -> list[nn.Parameter]:
    """Give every linear layer and 1×1 convolution of the backbone a low-rank pair, in place; the pairs, which are to
    learn."""
    generator = torch.Generator().manual_seed(seed)
    learning = []
    for name, module in list(model.bb.named_modules()):
        if type(module) is nn.Linear:
            adapted = LowRankLinear(module, rank, alpha, generator)
        elif type(module) is nn.Conv2d and (module.kernel_size, module.stride, module.groups) == ((1, 1), (1, 1), 1):
            adapted = LowRankConv(module, rank, alpha, generator)
        else:
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(model.bb.get_submodule(parent), leaf, adapted)
        learning += [adapted.lora_A.weight, adapted.lora_B.weight]
    return learning


def of_low_rank(model: BiRefNet) -> dict[str, Tensor]:
    """The pairs of a model that `make_low_rank` changed, as an adapter stores them."""
    return stored({name: tensor for name, tensor in model.state_dict().items() if name.endswith((LOW_A, LOW_B))})


def of_differences(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What changed between two states, as an adapter stores it."""
    changes = {name: after[name] - tensor for name, tensor in before.items()}
    return stored({name + DIFFERENCE: change for name, change in changes.items() if change.any()})


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU and rounded as in a file, so that a saved adapter and one in memory give the same network."""
    return {name: tensor.detach().to("cpu", STORED) for name, tensor in tensors.items()}
