"""Build a network from a checkpoint's tensors, part by part: memory peaks at about the network's size."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch.nn import Module

from ..device.placement import place
from ..files.errors import CheckpointError, join_names
from ..network.birefnet import BiRefNet
from ..network.config import Config
from ..network.fused import fuse
from .source import TensorSource

log = logging.getLogger(__name__)

MAX_LISTED = 6  # names listed in a message
REBUILT = ("relative_position_index", "num_batches_tracked")  # integer buffers, which files may hold or lack


def assemble(
    source: TensorSource, config: Config, device: str | torch.device, dtype: torch.dtype, form: str
) -> BiRefNet:
    """Build a network in eval mode and read its tensors.

    Layers that the inference form merges are read as float32 on the CPU, so that values are rounded to half
    precision once. They are read and merged one part at a time, before all other tensors, so that memory
    never holds much more than the resulting network.

    Args:
        source: the checkpoint's tensors.
        config: its build.
        device: where the network's tensors are stored.
        dtype: of the network's tensors.
        form: "inference" or "plain".

    Raises:
        CheckpointError: a tensor is missing, has another shape or cannot be read.
    """
    with torch.device("meta"):
        model = BiRefNet(config).eval()
    check_tensors(source, model)
    if form == "inference":
        prefixes = {module: f"{name}." for name, module in model.named_modules()}

        def compose(modules: Sequence[Module], make: Callable[[], Module]) -> Module:
            for module in modules:
                fill(module, source, prefixes[module], "cpu", torch.float32)
            made = make().to(device, dtype)
            for part in {part for module in modules for part in module.modules()} - set(made.modules()):
                part.to_empty(device="meta", recurse=False)
            return made

        model = fuse(model, compose)
    fill(model, source, "", device, dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)
    return place(model, device, dtype)


def fill(module: Module, source: TensorSource, prefix: str, device: str | torch.device,
         dtype: torch.dtype) -> None:
    """Read a module's tensors that are still on the meta device. prefix: of their names in the network."""
    state = {name: source.tensor(prefix + name, device, dtype) for name, tensor in module.state_dict().items()
             if tensor.is_meta and not name.endswith(REBUILT)}
    module.load_state_dict(state, strict=False, assign=True)


def check_tensors(source: TensorSource, model: BiRefNet) -> None:
    """Raise CheckpointError for missing tensors and wrong shapes; warn of unknown tensors."""
    needed = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()
              if not name.endswith(REBUILT)}
    missing = sorted(needed.keys() - source.shapes.keys())
    if missing:
        raise CheckpointError("Download or copy it again",
                              f"the checkpoint is incomplete: detected {model.config.describe()}, but the "
                              f"file lacks {join_names(missing, MAX_LISTED)}")
    wrong = [f"{name} is {list(source.shapes[name])}, expected {list(shape)}"
             for name, shape in needed.items() if source.shapes[name] != shape]
    if wrong:
        raise CheckpointError("Choose another checkpoint",
                              f"its tensors do not fit together: detected {model.config.describe()}, but "
                              f"{join_names(wrong, MAX_LISTED, '; ')}")
    extra = sorted(name for name in source.shapes.keys() - needed.keys() if not name.endswith(REBUILT))
    if extra:
        log.warning("ignored tensors that this network does not have: %s", join_names(extra, MAX_LISTED))
