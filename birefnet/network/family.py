"""An encoder family is one object: how its checkpoints are recognised, how it is built, run and counted.

The idea is spandrel's Architecture. A family stands in one file of `birefnet.network.backbones` and in one
line of that package's list; everything else asks `FAMILIES`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from torch import nn

if TYPE_CHECKING:
    from .config import Config

Shapes = Mapping[str, tuple[int, ...]]
Compose = Callable[[Sequence[nn.Module], Callable[[], nn.Module]], nn.Module]


class Family(ABC):
    """One kind of encoder.

    An encoder is a module: [B,3,H,W], normalised → four maps [B,C,h,w]. Their strides are 4, 8, 16, 32 unless
    the family says otherwise and the decoder has a neck (`Config.neck`). Its tensors are named `bb.*` in a
    checkpoint.
    """

    name: ClassVar[str]
    builds: Mapping[str, Mapping[str, object]] = MappingProxyType({})
    """Fields of `Config` by the backbone's name, for builds that have one."""
    told: tuple[str, ...] = ("widths", "depths")
    """Fields by which `builds` are told apart."""
    blocks: tuple[type[nn.Module], ...] = ()
    """Modules that gradient checkpointing computes again."""

    @abstractmethod
    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        """Whether a checkpoint is of this family, by its tensors and the encoder that its metadata names ("" for
        none)."""

    @abstractmethod
    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        """Fields of `Config` that determine the encoder.

        encoder, heads: what the caller or the file's metadata says, where tensors do not. Raises KeyError for
        a missing tensor, CheckpointError for a file that cannot be run.
        """

    def check(self, config: Config) -> None:
        """Raise ValueError for a build that cannot be."""
        for width, heads in zip(config.widths, config.heads):
            if width % heads:
                raise ValueError(f"stage width {width} is not divisible by its {heads} attention heads")

    def label(self, config: Config) -> str:
        """A name of the encoder for people."""
        known = (name for name, build in self.builds.items()
                 if all(getattr(config, field) == build[field] for field in self.told))
        return next(known, f"{self.name} {'-'.join(map(str, config.widths))}")

    @abstractmethod
    def build(self, config: Config) -> nn.Module:
        """The plain form, which is trained and saved: `forward(image)` → x1..x4."""

    @abstractmethod
    def fuse(self, plain: nn.Module, compose: Compose) -> nn.Module:
        """The inference form: `forward(image, scratch)` → x1..x4 in channels-last memory, in the weights'
        dtype, with temporaries of about `scratch` bytes in each step. For `compose` see
        birefnet.network.fused.fuse."""

    @abstractmethod
    def plain_bytes(self, encoder: nn.Module, config: Config, size: tuple[int, int]) -> float:
        """Temporaries of the plain form for one image of network size (H, W), at their peak."""

    @abstractmethod
    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        """Of the inference form, for one image of network size (H, W): bytes that are alive from step to
        step, and the largest step's temporaries if nothing bounds them."""

    def blocks_of(self, encoder: nn.Module) -> list[nn.Module]:
        """What gradient checkpointing computes again: modules of tensors, not inside each other."""
        return [module for module in encoder.modules() if isinstance(module, self.blocks)]

    def first_convolution(self, encoder: nn.Module) -> nn.Conv2d | None:
        """What reads the image, if a folded normalisation would show in its bias."""
        return None

    def initialize(self, encoder: nn.Module) -> bool:
        """Draw fresh weights and return True; False leaves it to `BiRefNet.initialize`."""
        return False


FAMILIES: dict[str, Family] = {}
"""Every family by its name, in the order in which checkpoints are tried; birefnet.network.backbones fills it."""


def count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers the group in `pattern` takes among the names."""
    return len({match.group(1) for name in shapes if (match := re.match(pattern, name))})
