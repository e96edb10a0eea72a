"""Checkpoint files: opened without executing anything in them, read tensor by tensor, and written."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..device.memory import is_out_of_memory
from ..files.atomic import atomic_write
from ..files.errors import CheckpointError
from .layouts import rename_tensors
from .source import TensorSource, UnsupportedDtype

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
PIECE_BYTES = 1 << 20               # bytes read at a time when values have to be converted
# Elements converted at a time; up to this many, PyTorch uses one thread. Waking its other threads for each
# piece takes longer than the conversion, and on a busy machine they wait for the scheduler.
SERIAL_ELEMENTS = (1 << 15) - 1
WRAPPERS = ("module", "_orig_mod")  # name parts that DataParallel and torch.compile add
NESTS = ("state_dict", "model")     # keys under which training scripts store the weights
MAX_NESTS = 8                       # levels of such keys that are opened
MAX_HEADER_BYTES = 10 << 20         # of a safetensors file; a large BiRefNet's header has 0.2 MB
MAX_UNPACKED_RATIO = 2              # unpacked bytes over a PyTorch file's; text in it may be compressed
MAX_SHARED_RATIO = 2                # listed bytes over stored; a file may list a tensor as module.x and as x


def open_file(path: Path) -> TensorSource:
    """Open a checkpoint file; its format is recognised by content, not by suffix.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it cannot be used; the caller adds the path (`CheckpointError.at`).
    """
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise CheckpointError("Choose a .safetensors, .pth or .pt file", "this is a folder")
    if not stat.S_ISREG(kind):  # opening a pipe would block
        raise CheckpointError("Choose a .safetensors, .pth or .pt file", "this is a device or a pipe")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise CheckpointError("Download or copy it again", "the file is empty")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError("Download the file itself",
                              "this is a web page, not a checkpoint: the download saved a page in its place")
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError("Fetch it with git lfs pull", "this is a Git LFS pointer, not the file itself")
    if head[8:9] == b"{":
        return open_safetensors(path)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return open_pickle(path)
    raise CheckpointError("Choose a BiRefNet checkpoint", "this is neither a safetensors nor a PyTorch file")


def open_safetensors(path: Path) -> TensorSource:
    """Open a .safetensors file. Raises CheckpointError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:  # parsing the header takes many times its size in memory
        raise CheckpointError("Download or copy it again",
                              "this is a damaged or truncated safetensors file (its header would have "
                              f"{length} bytes)")
    try:
        with safe_open(path, "pt") as file:  # checks the header and the file's length
            metadata = file.metadata() or {}
        reader = SafetensorsReader(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError("Download or copy it again",
                              f"this is a damaged or truncated safetensors file ({error})") from None
    shapes = {name: tuple(entry["shape"]) for name, entry in reader.entries.items()}
    names = clean_names(shapes)
    shapes = {name: shapes[own] for name, own in names.items()}
    return rename_tensors(TensorSource(names, shapes, reader.read, metadata))


class SafetensorsReader:
    """Reads tensors of a .safetensors file into new memory, on any device and in any dtype.

    Not memory-mapped: a mapped file would take memory besides the converted tensors, and overwriting the file
    would change a loaded network.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb", buffering=0)
        length = int.from_bytes(self.file.read(8), "little")
        self.entries = json.loads(self.file.read(length))
        self.entries.pop("__metadata__", None)
        self.start = 8 + length
        self.piece = torch.empty(PIECE_BYTES, dtype=torch.uint8)

    def read(self, name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Read a tensor by its name in the file. Raises UnsupportedDtype, and OSError for a short file."""
        entry = self.entries[name]
        if entry["dtype"] not in DTYPES:
            raise UnsupportedDtype(entry["dtype"])
        stored = DTYPES[entry["dtype"]]
        tensor = torch.empty(entry["shape"], device=device, dtype=dtype)
        self.file.seek(self.start + entry["data_offsets"][0])
        if tensor.device.type == "cpu" and dtype == stored:
            self.fill(tensor.view(-1))
        else:
            piece = self.piece.view(stored)
            for part in tensor.view(-1).split(len(piece)):
                values = piece[:len(part)]
                self.fill(values)
                for some, converted in zip(values.split(SERIAL_ELEMENTS), part.split(SERIAL_ELEMENTS)):
                    converted.copy_(some)
        return tensor

    def fill(self, values: Tensor) -> None:
        """Fill a contiguous CPU tensor from the file's current position."""
        rest = memoryview(values.view(torch.uint8).numpy())
        while rest:
            count = self.file.readinto(rest)
            if not count:
                raise OSError("it ends too early")
            rest = rest[count:]


def open_pickle(path: Path) -> TensorSource:
    """Open a PyTorch file. Only plain tensors are unpickled; a file that would run code is refused.

    Raises:
        CheckpointError: the file is refused, damaged or something else.
    """
    refuse_bomb(path)
    try:
        with BoundedFile(path) as file:
            content = torch.load(path if zipfile.is_zipfile(path) else file, map_location="cpu",
                                 weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError("Save it again as a plain state dict or as .safetensors",
                              "the file holds more than plain tensors, or is damaged, and was refused, "
                              "because reading on could run code") from None
    except Exception as error:  # damaged files raise exceptions of many kinds
        if is_out_of_memory(error):
            raise
        if "TorchScript" in str(error):
            raise CheckpointError("Save the state dict of its model instead", "this is a TorchScript program"
                                  ) from None
        raise CheckpointError("Download or copy it again",
                              f"this is a damaged or truncated PyTorch file ({type(error).__name__})"
                              ) from None
    if not isinstance(content, Mapping):
        raise CheckpointError("Choose a file with a state dict", f"this one holds a {type(content).__name__}")
    return from_mapping(content, copy=False)


class BoundedFile(io.FileIO):
    """A file that never reads more than is left: Python allocates any size that a damaged pickle states."""

    def read(self, size: int = -1) -> bytes:
        rest = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(rest if size is None or size < 0 else min(size, rest))


def refuse_bomb(path: Path) -> None:
    """Raise CheckpointError for a decompression bomb, a file that unpacks to many times its size.

    PyTorch stores tensors uncompressed; compressed or overlapping parts may unpack to any amount of memory.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except Exception:  # a damaged directory, which torch.load reports
        return
    if unpacked > MAX_UNPACKED_RATIO * path.stat().st_size + PIECE_BYTES:
        raise CheckpointError("Save it again as a plain state dict or as .safetensors",
                              f"the file unpacks to {unpacked} bytes, many times its own size, which "
                              "tensors saved by PyTorch do not")


def refuse_oversized(tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for tensors that are not plain, or whose shapes need far more bytes than stored.

    A pickled tensor may expand one stored number to any shape.
    """
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
            raise CheckpointError("Save the network's own state dict",
                                  f"{name} is no plain tensor (sparse, quantised, nested or without values)")
    claimed = sum(tensor.nbytes for tensor in tensors.values())
    storages = map(Tensor.untyped_storage, tensors.values())
    held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    if claimed > MAX_SHARED_RATIO * held:
        raise CheckpointError("Choose another file",
                              f"its tensors claim {claimed} bytes, but only {held} are stored: the file is "
                              "damaged or was made to fill the memory")


def from_mapping(content: Mapping, *, copy: bool) -> TensorSource:
    """Make a source of a state dict's tensors.

    Args:
        content: a state dict, or mappings that hold one under the keys NESTS.
        copy: whether reading always copies, because the tensors belong to a caller who may change them.

    Raises:
        CheckpointError: there are no tensors, or they are refused.
    """
    for _ in range(MAX_NESTS):
        content = next((content[nest] for nest in NESTS if isinstance(content.get(nest), Mapping)), content)
    tensors = {name: value for name, value in content.items()
               if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError("Choose a file with a state dict",
                              f"no tensors found, neither outside nor under {' or '.join(map(repr, NESTS))}")
    refuse_oversized(tensors)

    def read(name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        if tensors[name].dtype not in DTYPES.values():
            raise UnsupportedDtype(str(tensors[name].dtype).removeprefix("torch."))
        return tensors[name].to(device, dtype, copy=copy)

    names = clean_names(tensors)
    shapes = {name: tuple(tensors[own].shape) for name, own in names.items()}
    return rename_tensors(TensorSource(names, shapes, read, {}))


def clean_names(names: Mapping[str, object]) -> dict[str, str]:
    """Map the network's names to the file's own, which may have parts and prefixes added by wrappers."""
    cleaned = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in names}
    anchor = "squeeze_module.0.conv_in.weight"
    prefix = next((name.removesuffix(anchor) for name in cleaned if name.endswith(anchor)), "")
    return {name.removeprefix(prefix): own for name, own in cleaned.items()}


def write_safetensors(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a .safetensors file atomically.

    Args:
        path: the file; an existing one is replaced once the new one is complete.
        state: contiguous CPU tensors.
        metadata: text entries.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path, folder=True) as part:  # the library writes a temporary file beside its output
        try:
            save_file(state, part.path / path.name, metadata)
        except SafetensorError as error:  # a full disk, for one
            raise OSError(f"{path} cannot be written ({error})") from None
        part.keep(inner=path.name)
