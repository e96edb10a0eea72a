"""Opening checkpoint files: what is in them is read tensor by tensor, and nothing in them is executed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .detect import CheckpointError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WRAPPERS = ("module", "_orig_mod")  # DataParallel and torch.compile
NESTS = ("state_dict", "model")     # where training scripts put the weights


@dataclass(frozen=True)
class Source:
    """Tensors that can be read one by one: `names` maps this network's names to the file's own."""

    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    metadata: Mapping[str, str]

    def float_tensor(self, name: str) -> Tensor:
        """The tensor of this network's name, as stored."""
        try:
            tensor = self.read(self.names[name])
        except (SafetensorError, RuntimeError, OSError) as error:
            raise CheckpointError(f"the tensor {name} cannot be read ({error}): the file is damaged; get it again") from None
        if tensor.dtype not in FLOATS:
            raise CheckpointError(f"{name} is stored as {str(tensor.dtype).removeprefix('torch.')}; expected float32, "
                                  "float16 or bfloat16")
        return tensor


def open_file(path: Path) -> Source:
    """Tell the format by content, not by suffix. The caller adds the path to what goes wrong."""
    if path.is_dir():
        raise CheckpointError("this is a folder; expected a .safetensors, .pth or .pt file")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise CheckpointError("the file is empty; get it again")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError("this is a web page, not a checkpoint: the download saved a page in its place; "
                              "get the file itself")
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError("this is a Git LFS pointer, not the file itself; fetch it with git lfs pull")
    if head[8:9] == b"{":
        return open_safetensors(path)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return open_pickle(path)
    raise CheckpointError("this is neither a safetensors nor a PyTorch file; expected a BiRefNet checkpoint")


def open_safetensors(path: Path) -> Source:
    try:
        file = safe_open(path, "pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"this is a damaged or truncated safetensors file ({error}); get it again") from None
    names = clean_names(shapes)
    return Source(names, {name: shapes[own] for name, own in names.items()}, file.get_tensor, file.metadata() or {})


def open_pickle(path: Path) -> Source:
    """Only plain tensors are unpickled (`weights_only`); anything that would run code is refused."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError("the file holds more than plain tensors, or is damaged, and was refused, because reading on "
                              "could run code; save it again as a plain state dict or as .safetensors") from None
    except Exception as error:  # damaged bytes fail in whatever way they happen to
        if "TorchScript" in str(error):
            raise CheckpointError("this is a TorchScript program; save the state dict of its model instead") from None
        raise CheckpointError(f"this is a damaged or truncated PyTorch file ({type(error).__name__}); "
                              "get it again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the file holds a {type(content).__name__}; expected a state dict")
    return from_mapping(content, {})


def from_mapping(content: Mapping, metadata: Mapping[str, str]) -> Source:
    for nest in NESTS:
        if isinstance(content.get(nest), Mapping):
            return from_mapping(content[nest], metadata)
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"no tensors found; expected a state dict, or one under {' or '.join(map(repr, NESTS))}")
    names = clean_names(tensors)
    return Source(names, {name: tuple(tensors[own].shape) for name, own in names.items()}, tensors.__getitem__, metadata)


def clean_names(names: Mapping[str, object]) -> dict[str, str]:
    """This network's name → the file's own, without what wrappers put in front of or between."""
    cleaned = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in names}
    anchor = "squeeze_module.0.conv_in.weight"
    prefix = next((name.removesuffix(anchor) for name in cleaned if name.endswith(anchor)), "")
    return {name.removeprefix(prefix): own for name, own in cleaned.items()}
