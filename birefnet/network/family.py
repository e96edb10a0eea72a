"""An encoder family is one object: it recognises, builds and fuses its encoders, and estimates their memory.

The idea is that of spandrel's Architecture. A family is one file or folder of `birefnet.network.backbones`
and one line of that package's list, `FAMILIES`, which all other code uses.
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
"""Shapes of a checkpoint's tensors by name."""
Compose = Callable[[Sequence[nn.Module], Callable[[], nn.Module]], nn.Module]
"""compose(modules, build) returns build(), which merges `modules`; see birefnet.network.fused.fuse."""


class Family(ABC):
    """One kind of encoder.

    An encoder is a module: [B,3,H,W], normalised → four maps [B,C,h,w]. Their strides are 4, 8, 16, 32 unless
    the family says otherwise and the decoder has a neck (`Config.neck`). Its tensors are named `bb.*` in a
    checkpoint.
    """

    name: ClassVar[str]
    """Key in FAMILIES, and `Config.family`."""
    builds: Mapping[str, Mapping[str, object]] = MappingProxyType({})
    """Fields of `Config` by the backbone's name, for builds that have one."""
    label_fields: tuple[str, ...] = ("widths", "depths")
    """Fields of `Config` that distinguish `builds`."""
    blocks: tuple[type[nn.Module], ...] = ()
    """Modules that gradient checkpointing recomputes."""

    @abstractmethod
    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        """Whether a checkpoint is of this family. encoder: the one that its metadata names, or ""."""

    @abstractmethod
    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        """Detect the fields of `Config` that determine the encoder.

        Args:
            shapes: of the checkpoint's tensors.
            encoder: its name from the caller or the metadata, or "".
            heads: attention heads of each stage from the caller or the metadata, or None.

        Raises:
            KeyError: a tensor is missing.
            CheckpointError: the encoder is not supported.
        """

    def check(self, config: Config) -> None:
        """Raise ValueError for an impossible build."""
        for width, heads in zip(config.widths, config.heads):
            if width % heads:
                raise ValueError(f"stage width {width} is not divisible by its {heads} attention heads")

    def label(self, config: Config) -> str:
        """Return the encoder's name for messages."""
        known = (name for name, build in self.builds.items()
                 if all(getattr(config, field) == build[field] for field in self.label_fields))
        return next(known, f"{self.name} {'-'.join(map(str, config.widths))}")

    @abstractmethod
    def build(self, config: Config) -> nn.Module:
        """Build the plain form, which is trained and saved: `forward(image)` → x1..x4."""

    @abstractmethod
    def fuse(self, plain: nn.Module, compose: Compose) -> nn.Module:
        """Make the inference form: `forward(image, scratch)` → x1..x4, channels-last, in the weights' dtype.

        Temporaries of each step take about `scratch` bytes. For `compose` see birefnet.network.fused.fuse.
        """

    @abstractmethod
    def plain_bytes(self, encoder: nn.Module, config: Config, size: tuple[int, int]) -> float:
        """Estimate peak bytes of the plain form's temporaries for one image of network size (H, W)."""

    @abstractmethod
    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        """Estimate the inference form's bytes for one image of network size (H, W).

        Returns:
            Those of maps that later steps read, and those of the largest step's temporaries without a limit.
        """

    def blocks_of(self, encoder: nn.Module) -> list[nn.Module]:
        """Return the modules that gradient checkpointing recomputes; none contains another."""
        return [module for module in encoder.modules() if isinstance(module, self.blocks)]

    def first_convolution(self, encoder: nn.Module) -> nn.Conv2d | None:
        """Return the convolution that reads the image if its bias shows a folded normalisation, else None."""
        return None

    def initialize(self, encoder: nn.Module) -> bool:
        """Draw random weights and return True, or return False to leave it to `BiRefNet.initialize`."""
        return False


def count(shapes: Shapes, pattern: str) -> int:
    """Count the different texts that the first group of `pattern` matches in the names."""
    return len({match.group(1) for name in shapes if (match := re.match(pattern, name))})
