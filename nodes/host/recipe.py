"""Records how a model was loaded, to load it again with an adapter or in the trainable form."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ... import birefnet, weights
from ...birefnet.checkpoint.load import ancestry
from . import folders
from .model import BiRefModel

Stack = tuple[tuple["Path | birefnet.Adapter", float], ...]

# Models that a node or cache still references, by what they were made of.
_loaded: weakref.WeakValueDictionary[tuple, BiRefModel] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Recipe:
    """What a model is made of.

    Args:
        source: a checkpoint's file, or its tensors if it was not saved.
        options: keyword arguments of birefnet.load.
        device: where the model computes.
        dtype: number format on that device.
        adapters: (file or Adapter, strength) pairs.
        origin: for tensors, the metadata that a file would have.
    """

    source: Path | Mapping[str, Tensor]
    options: Mapping[str, object]
    device: torch.device
    dtype: torch.dtype
    adapters: Stack = ()
    origin: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def ancestry(self, network: birefnet.BiRefNet) -> Mapping[str, str]:
        """Return metadata for a checkpoint made from this recipe's network: its origin and licence."""
        if not isinstance(self.source, Path):
            return self.origin
        row = weights.match(self.source, folders.registered_folders())
        return ancestry(network, row.name, row.license) if row else ancestry(network, self.source.name)

    def with_adapter(self, adapter: Path | birefnet.Adapter, strength: float) -> Recipe:
        return dataclasses.replace(self, adapters=(*self.adapters, (adapter, strength)))

    def network(self, **changes) -> birefnet.BiRefNet:
        """Load the network on the CPU. changes: options that replace the recipe's."""
        # Outside inference mode, in which the host could not move the weights after the workflow.
        with torch.inference_mode(False):
            options = {"dtype": self.dtype, "adapters": self.adapters} | self.options | changes
            return birefnet.load(self.source, **options)

    def model(self) -> BiRefModel:
        """Return the model for a socket: the same object while it is in use and its files are unchanged."""
        parts = (self.source, *(adapter for adapter, _ in self.adapters))
        key = (*(identity(part) if isinstance(part, Path) else id(part) for part in parts),
               self.device, self.dtype, *(strength for _, strength in self.adapters),
               *(repr(item) for item in sorted(self.options.items())))
        model = _loaded.get(key)
        if model is None:
            model = _loaded[key] = BiRefModel(self.network(), self.device, self.dtype)
            model.recipe = self
        return model


def of(model: object, what_for: str) -> Recipe:
    """Return a model's recipe. Raises ValueError for another pack's model. what_for: for the message."""
    if not isinstance(model, BiRefModel):
        raise ValueError(f"Connect a model from Load BiRefNet: {what_for} cannot use {type(model).__name__}, "
                         "which is not of this pack.")
    return model.recipe


def identity(path: Path) -> tuple[str, int, int]:
    """Return path, modification time (ns) and size (bytes), which change when a file is replaced."""
    state = path.stat()
    return str(path), state.st_mtime_ns, state.st_size
