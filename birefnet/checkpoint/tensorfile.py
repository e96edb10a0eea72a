"""Checkpoint files: what is in them is read tensor by tensor, nothing in them is executed; and how one is written."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..device.memory import is_out_of_memory
from ..files.atomic import atomic_write
from ..files.errors import CheckpointError
from .layouts import renamed

STORED = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
PIECE = 1 << 20                     # bytes that are read at a time where they have to be converted
SERIAL = (1 << 15) - 1              # numbers that PyTorch converts in one thread: waking the others so often costs more,
                                    # and on a busy machine each time waits for the scheduler
WRAPPERS = ("module", "_orig_mod")  # DataParallel and torch.compile
NESTS = ("state_dict", "model")     # where training scripts put the weights
DEEPEST = 8                         # such nests inside each other that are looked into
LONGEST_HEADER = 10 << 20           # bytes of a safetensors header; a large BiRefNet's has 0.2 MB
UNPACKED = 2                        # times its own size that a PyTorch file may hold: text in it may be compressed
SHARED = 2                          # times that a file may list what it holds once, as module.x and as x


@dataclass(frozen=True)
class Source:
    """Tensors that can be read one by one: `names` maps this network's names to the file's own."""

    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str, torch.device, torch.dtype], Tensor]  # by the file's own name
    metadata: Mapping[str, str]

    def tensor(self, name: str, device: str | torch.device, dtype: torch.dtype) -> Tensor:
        """The tensor of this network's name, in memory that is the caller's; no second copy exists meanwhile."""
        try:
            return self.read(self.names[name], torch.device(device), dtype)
        except OSError as error:
            raise CheckpointError(f"the tensor {name} cannot be read ({error}): the file is damaged; get it again"
                                  ) from None
        except NoFloat as error:
            raise CheckpointError(f"{name} is stored as {error}; expected float32, float16 or bfloat16") from None


class NoFloat(Exception):
    """A tensor's storage is none that weights come in; the message names it."""


def open_file(path: Path) -> Source:
    """Tell the format by content, not by suffix. The caller adds the path to what goes wrong."""
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise CheckpointError("this is a folder; expected a .safetensors, .pth or .pt file")
    if not stat.S_ISREG(kind):  # opening a pipe would wait for ever
        raise CheckpointError("this is a device or a pipe; expected a .safetensors, .pth or .pt file")
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
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:  # else it is read as a whole, into many times as much memory
        raise CheckpointError(f"this is a damaged or truncated safetensors file (its header would have {length} bytes)"
                              "; get it again")
    try:
        with safe_open(path, "pt") as file:  # checks the header, and that the file is as long as it says
            metadata = file.metadata() or {}
        reader = SafetensorsReader(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"this is a damaged or truncated safetensors file ({error}); get it again") from None
    shapes = {name: tuple(entry["shape"]) for name, entry in reader.entries.items()}
    names = clean_names(shapes)
    return renamed(Source(names, {name: shapes[own] for name, own in names.items()}, reader.read, metadata))


class SafetensorsReader:
    """Reads tensors out of a .safetensors file into memory of their own, on any device, in any dtype.

    A mapped file would stand in memory beside what is made of it, and change under a network that was loaded from it.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb", buffering=0)
        length = int.from_bytes(self.file.read(8), "little")
        self.entries = json.loads(self.file.read(length))
        self.entries.pop("__metadata__", None)
        self.start = 8 + length
        self.piece = torch.empty(PIECE, dtype=torch.uint8)

    def read(self, name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        entry = self.entries[name]
        if entry["dtype"] not in STORED:
            raise NoFloat(entry["dtype"])
        stored = STORED[entry["dtype"]]
        tensor = torch.empty(entry["shape"], device=device, dtype=dtype)
        self.file.seek(self.start + entry["data_offsets"][0])
        if tensor.device.type == "cpu" and dtype == stored:
            self.fill(tensor.view(-1))
        else:
            piece = self.piece.view(stored)
            for part in tensor.view(-1).split(len(piece)):
                values = piece[:len(part)]
                self.fill(values)
                for some, converted in zip(values.split(SERIAL), part.split(SERIAL)):
                    converted.copy_(some)
        return tensor

    def fill(self, values: Tensor) -> None:
        """Read on into contiguous memory of the CPU."""
        rest = memoryview(values.view(torch.uint8).numpy())
        while rest:
            count = self.file.readinto(rest)
            if not count:
                raise OSError("it ends too early")
            rest = rest[count:]


def open_pickle(path: Path) -> Source:
    """Only plain tensors are unpickled (`weights_only`); anything that would run code is refused."""
    refuse_bomb(path)
    try:
        with Bounded(path) as file:
            content = torch.load(path if zipfile.is_zipfile(path) else file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError("the file holds more than plain tensors, or is damaged, and was refused, because reading on "
                              "could run code; save it again as a plain state dict or as .safetensors") from None
    except Exception as error:  # damaged bytes fail in whatever way they happen to
        if is_out_of_memory(error):
            raise
        if "TorchScript" in str(error):
            raise CheckpointError("this is a TorchScript program; save the state dict of its model instead") from None
        raise CheckpointError(f"this is a damaged or truncated PyTorch file ({type(error).__name__}); "
                              "get it again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the file holds a {type(content).__name__}; expected a state dict")
    return from_mapping(content, copy=False)


class Bounded(io.FileIO):
    """A file in which a text that claims gigabytes ends where the file does: Python would allocate what is asked for."""

    def read(self, size: int = -1) -> bytes:
        rest = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(rest if size is None or size < 0 else min(size, rest))


def refuse_bomb(path: Path) -> None:
    """PyTorch stores tensors as they are; parts that are compressed or overlap unpack to any amount of memory."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except Exception:  # a directory is damaged in many ways; torch.load says so
        return
    if unpacked > UNPACKED * path.stat().st_size + PIECE:
        raise CheckpointError(f"this file unpacks to {unpacked} bytes, many times its own size, which tensors saved by "
                              "PyTorch do not; save it again as a plain state dict or as .safetensors")


def refuse_claims(tensors: Mapping[str, Tensor]) -> None:
    """A pickle may hold tensors of every kind, and of any size whatever is stored: one number seen as a million."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
            raise CheckpointError(f"{name} is no plain tensor (sparse, quantised, nested or without values); save the "
                                  "network's own state dict")
    claimed = sum(tensor.nbytes for tensor in tensors.values())
    storages = map(Tensor.untyped_storage, tensors.values())
    held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    if claimed > SHARED * held:
        raise CheckpointError(f"its tensors claim {claimed} bytes, but only {held} are stored; the file is damaged or "
                              "was made to fill the memory")


def from_mapping(content: Mapping, *, copy: bool) -> Source:
    """A state dict, wherever it is nested. copy: the tensors are somebody else's, who may change them."""
    for _ in range(DEEPEST):
        content = next((content[nest] for nest in NESTS if isinstance(content.get(nest), Mapping)), content)
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"no tensors found; expected a state dict, or one under {' or '.join(map(repr, NESTS))}")

    refuse_claims(tensors)

    def read(name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        if tensors[name].dtype not in STORED.values():
            raise NoFloat(str(tensors[name].dtype).removeprefix("torch."))
        return tensors[name].to(device, dtype, copy=copy)

    names = clean_names(tensors)
    return renamed(Source(names, {name: tuple(tensors[own].shape) for name, own in names.items()}, read, {}))


def clean_names(names: Mapping[str, object]) -> dict[str, str]:
    """This network's name → the file's own, without what wrappers put in front of or between."""
    cleaned = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in names}
    anchor = "squeeze_module.0.conv_in.weight"
    prefix = next((name.removesuffix(anchor) for name in cleaned if name.endswith(anchor)), "")
    return {name.removeprefix(prefix): own for name, own in cleaned.items()}


def write_safetensors(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Contiguous tensors of the CPU as a file; the old file stays until the new one is whole. Raises OSError."""
    with atomic_write(path, folder=True) as part:  # the library has a hidden file of its own beside what it writes
        try:
            save_file(state, part.path / path.name, metadata)
        except SafetensorError as error:  # a full disk, for one
            raise OSError(f"{path} cannot be written ({error})") from None
        part.keep(inner=path.name)
