"""Read and write the selector's file."""

from __future__ import annotations

from pathlib import Path

import torch

from ..files.errors import CheckpointError
from ..network.selector import Selector
from .tensorfile import open_file, write_safetensors

COUNTERS = "num_batches_tracked"  # counters of batch norms, which only training needs


def load_selector(path: Path) -> Selector:
    """Load a selector from its file, on the CPU, in float32.

    Raises:
        CheckpointError: the file does not hold a selector.
        OSError: it cannot be read.
    """
    try:
        source = open_file(path)
    except CheckpointError as error:
        raise error.at(path) from None
    selector = Selector()
    wanted = {name: tuple(tensor.shape) for name, tensor in selector.state_dict().items()
              if not name.endswith(COUNTERS)}
    if source.shapes != wanted:
        raise CheckpointError("Download or copy it again", "it does not hold a selector's tensors", path)
    selector.load_state_dict({name: source.tensor(name, "cpu", torch.float32) for name in wanted},
                             strict=False)
    return selector.eval().requires_grad_(False)


def save_selector(selector: Selector, path: Path) -> None:
    """Write a selector's file: convolutions in half precision, the rest in float32.

    Raises:
        OSError: it cannot be written.
    """
    state = {name: (tensor.detach().half() if tensor.ndim == 4 else tensor.detach().float()).contiguous()
             for name, tensor in selector.state_dict().items() if not name.endswith(COUNTERS)}
    write_safetensors(path, state, {"format": "pt", "what": "birefnet selector"})
