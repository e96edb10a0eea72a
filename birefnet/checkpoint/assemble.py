"""From the tensors of a checkpoint to the network that they are: part by part, in no more memory than it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch.nn import Module

from ..device.placement import place
from ..files.errors import CheckpointError
from ..network.birefnet import BiRefNet
from ..network.config import Config
from ..network.fused import fuse
from .tensorfile import Source

log = logging.getLogger(__name__)

LISTED = 6  # names in a message; of more, their number
REBUILT = ("relative_position_index", "num_batches_tracked")  # integer buffers that files may hold or lack


def assemble(source: Source, config: Config, device: str | torch.device, dtype: torch.dtype, form: str) -> BiRefNet:
    """The network of that build in eval mode, its tensors read straight into memory of `device` in `dtype`.

    What the inference form composes is read as float32 on the CPU first, so that a half precision rounds once: part by
    part, and before all else, so that memory never holds much more than the network that comes out.
    """
    with torch.device("meta"):
        model = BiRefNet(config).eval()
    compare(source, model)
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


def fill(module: Module, source: Source, prefix: str, device: str | torch.device, dtype: torch.dtype) -> None:
    """Read what a module lacks; `prefix` leads from its tensors' names to the network's."""
    state = {name: source.tensor(prefix + name, device, dtype) for name, tensor in module.state_dict().items()
             if tensor.is_meta and not name.endswith(REBUILT)}
    module.load_state_dict(state, strict=False, assign=True)


def compare(source: Source, model: BiRefNet) -> None:
    """Every tensor the network needs is there in the right shape; what is left over is said."""
    needed = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if not name.endswith(REBUILT)}
    missing = sorted(needed.keys() - source.shapes.keys())
    if missing:
        raise CheckpointError(f"the checkpoint is incomplete: detected {model.config.describe()}, but "
                              f"the file lacks {listing(missing)}")
    wrong = [f"{name} is {list(source.shapes[name])}, expected {list(shape)}" for name, shape in needed.items()
             if source.shapes[name] != shape]
    if wrong:
        raise CheckpointError(f"the checkpoint does not fit together: detected {model.config.describe()}, but "
                              f"{listing(wrong, '; ')}")
    extra = sorted(name for name in source.shapes.keys() - needed.keys() if not name.endswith(REBUILT))
    if extra:
        log.warning("ignored tensors that this network does not have: %s", listing(extra))


def listing(items: list[str], separator: str = ", ") -> str:
    shown = separator.join(items[:LISTED])
    return shown if len(items) <= LISTED else f"{shown} and {len(items) - LISTED} more"
