"""A checkpoint's tensors, from a file or from memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..files.errors import CheckpointError


@dataclass(frozen=True)
class TensorSource:
    """Tensors that can be read one by one, from a file or from memory.

    Args:
        names: the network's name of each tensor → the file's own name.
        shapes: by the network's names.
        read: read(own name, device, dtype) returns a tensor.
        metadata: the file's text entries.
    """

    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str, torch.device, torch.dtype], Tensor]
    metadata: Mapping[str, str]

    def tensor(self, name: str, device: str | torch.device, dtype: torch.dtype) -> Tensor:
        """Read a tensor by its name in the network. Raises CheckpointError."""
        try:
            return self.read(self.names[name], torch.device(device), dtype)
        except OSError as error:
            raise CheckpointError("Download or copy it again",
                                  f"the tensor {name} cannot be read ({error}): the file is damaged"
                                  ) from None
        except UnsupportedDtype as error:
            raise CheckpointError("Convert it to float32, float16 or bfloat16", f"{name} is stored as {error}"
                                  ) from None


class UnsupportedDtype(Exception):
    """A tensor is not stored as floats; the message is the dtype's name."""
