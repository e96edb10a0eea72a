"""Reading and writing checkpoint files: nothing in them is executed, and nothing is half-loaded."""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .config import Config
from .detect import CheckpointError, detect
from .fused import fuse
from .network import BiRefNet

log = logging.getLogger(__name__)

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
REBUILT = ("relative_position_index", "num_batches_tracked")  # integer buffers that files may hold or lack
WRAPPERS = ("module", "_orig_mod")                            # DataParallel and torch.compile
NESTS = ("state_dict", "model")                               # where training scripts put the weights
IMAGENET_MEAN = (0.485, 0.456, 0.406)
FOLDED_CORRELATION = 0.95


@dataclass(frozen=True)
class Source:
    """Tensors that can be read one by one: `names` maps this network's names to the file's own."""

    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    metadata: Mapping[str, str]


def load(
    source: str | os.PathLike | Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    patch_order: str = "auto",
    normalize: str = "auto",
    size: str | int | tuple[int, int] = "auto",
    multi_scale: str = "auto",
    heads: str | tuple[int, ...] = "auto",
    form: str = "inference",
    defaults: Mapping[str, object] | None = None,
) -> BiRefNet:
    """Build the network that a checkpoint holds, in eval mode.

    source: path of a .safetensors, .pth or .pt file, or a state dict. Which network it is, is read off the tensors;
    prefixes and nesting of training scripts are removed, and any float storage is converted to `dtype` on `device`.
    What tensors cannot tell is taken from the arguments, else ("auto") from the file's metadata, else from `defaults`
    (what a catalog says of it, under the same names), else: patch_order "colour-slowest", normalize "imagenet", size
    1024 (an int, (height, width), or "dynamic"), multi_scale "none" for a backbone of single width, PVT v2 heads
    (1, 2, 5, 8).
    form: "inference" gives the same logits with less arithmetic and memory (see birefnet.fused); "plain" is what can be
    trained and saved.

    Raises FileNotFoundError, and CheckpointError (one sentence: what came, what was expected) for everything else
    that is wrong with the file.
    """
    told = {"patch_order": patch_order, "normalize": normalize, "size": size, "multi_scale": multi_scale,
            "heads": heads}
    if form not in ("inference", "plain"):
        raise ValueError(f'form must be "inference" or "plain", got {form!r}')
    opened = open_file(Path(source)) if isinstance(source, (str, os.PathLike)) else from_mapping(source, {})
    model = build(opened, configure(opened, told, defaults or {}), device, dtype, form)
    warn_if_folded(model)
    return model


def configure(source: Source, told: dict, defaults: Mapping[str, object]) -> Config:
    for key, value in told.items():
        if value == "auto":
            told[key] = parse_metadata(key, source.metadata.get(f"birefnet.{key}")) or defaults.get(key)
    try:
        return Config(
            **detect(source.shapes, told["multi_scale"], told["heads"]),
            patch_order=told["patch_order"] or Config.patch_order,
            normalize=told["normalize"] or Config.normalize,
            size=parse_size(told["size"]) if told["size"] else Config.size,
            task=source.metadata.get("birefnet.task", ""),
        )
    except CheckpointError:
        raise
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"the checkpoint's tensors do not fit together: {error}") from None


def build(source: Source, config: Config, device: str | torch.device, dtype: torch.dtype, form: str) -> BiRefNet:
    """Tensors go straight from the file to `device` and `dtype`; only what is to be fused is composed on the CPU first,
    in float32 or better, so that a half precision rounds once."""
    with torch.device("meta"):
        model = BiRefNet(config)
    compare(source, model)
    state = {}
    for name in model.state_dict():
        if not name.endswith(REBUILT):
            fused = form == "inference" and not name.startswith("bb.")
            state[name] = read_float(source, name).to(*(("cpu", torch.float32) if fused else (device, dtype)))
    model.load_state_dict(state, strict=False, assign=True)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)
    model.eval()
    return fuse(model).to(device, dtype) if form == "inference" else model


def compare(source: Source, model: BiRefNet) -> None:
    """Every tensor the network needs is there in the right shape; what is left over is said."""
    needed = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if not name.endswith(REBUILT)}
    missing = sorted(needed.keys() - source.shapes.keys())
    if missing:
        raise CheckpointError(f"the checkpoint is incomplete: detected {model.config.describe()}, but "
                              f"{listing(missing)} missing")
    wrong = [f"{name} is {list(source.shapes[name])}, expected {list(shape)}" for name, shape in needed.items()
             if source.shapes[name] != shape]
    if wrong:
        raise CheckpointError(f"the checkpoint does not fit together: detected {model.config.describe()}, but "
                              f"{listing(wrong, '; ')}")
    extra = sorted(name for name in source.shapes.keys() - needed.keys() if not name.endswith(REBUILT))
    if extra:
        log.warning("ignored tensors that this network does not have: %s", listing(extra))


def listing(items: list[str], separator: str = ", ", most: int = 6) -> str:
    shown = separator.join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def read_float(source: Source, name: str) -> Tensor:
    try:
        tensor = source.read(source.names[name])
    except (SafetensorError, RuntimeError, OSError) as error:
        raise CheckpointError(f"the tensor {name} cannot be read ({error}): the file is damaged; get it again") from None
    if tensor.dtype not in FLOATS:
        raise CheckpointError(f"{name} is stored as {str(tensor.dtype).removeprefix('torch.')}; expected float32, "
                              "float16 or bfloat16")
    return tensor


# Files -----------------------------------------------------------------------------------------------------------


def open_file(path: Path) -> Source:
    """Tell the format by content, not by suffix."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; expected a .safetensors, .pth or .pt file")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise CheckpointError(f"{path} is empty; get it again")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(f"{path} is a web page, not a checkpoint: the download saved a page in its place; "
                              "get the file itself")
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the file itself; fetch it with git lfs pull")
    if head[8:9] == b"{":
        return open_safetensors(path)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return open_pickle(path)
    raise CheckpointError(f"{path} is neither a safetensors nor a PyTorch file; expected a BiRefNet checkpoint")


def open_safetensors(path: Path) -> Source:
    try:
        file = safe_open(path, "pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is a damaged or truncated safetensors file ({error}); get it again") from None
    names = clean_names(shapes)
    return Source(names, {name: shapes[own] for name, own in names.items()}, file.get_tensor, file.metadata() or {})


def open_pickle(path: Path) -> Source:
    """Only plain tensors are unpickled (`weights_only`); anything that would run code is refused."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path} holds more than tensors and was refused, because loading it could run code; "
                              "save it again as a plain state dict or as .safetensors") from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path} is a damaged or truncated PyTorch file ({str(error).splitlines()[0]}); "
                              "get it again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a state dict")
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


# Metadata --------------------------------------------------------------------------------------------------------


def parse_metadata(key: str, text: str | None) -> object:
    if text is None or key != "heads":
        return text
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise CheckpointError(f'metadata "birefnet.heads" is {text!r}; expected numbers such as "1,2,5,8"') from None


def parse_size(size: str | int | tuple[int, int]) -> tuple[int, int] | None:
    """(height, width), or None for "dynamic"; from an int, a pair, "512" or "1440x2560" (height × width)."""
    if size == "dynamic":
        return None
    try:
        sides = [int(side) for side in (size.lower().split("x") if isinstance(size, str) else
                                        [size] if isinstance(size, int) else size)]
    except (ValueError, TypeError):
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise ValueError(f'size is {size!r}; expected a number, (height, width), "HxW" or "dynamic"')
    return sides[0], sides[-1]


def save(model: BiRefNet, path: str | os.PathLike, metadata: Mapping[str, str] | None = None,
         dtype: torch.dtype = torch.float32) -> None:
    """Write a .safetensors file that `load` reads without help; the old file stays until the new one is whole.

    metadata: extra entries, for instance {"birefnet.license": "GPL-3.0"}. dtype: storage of the weights.
    """
    if model.form != "plain":
        raise ValueError('the inference form cannot be saved: load with form="plain"')
    config, path = model.config, Path(path)
    size = "x".join(map(str, config.size)) if config.size else "dynamic"
    entries = {"task": config.task, "size": size, "normalize": config.normalize, "patch_order": config.patch_order,
               "multi_scale": config.multi_scale, "heads": ",".join(map(str, config.heads))}
    entries = {"format": "pt", **{f"birefnet.{key}": value for key, value in entries.items()}, **(metadata or {})}
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()
             if not name.endswith(REBUILT)}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(state, temporary, entries)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def warn_if_folded(model: BiRefNet) -> None:
    """Some repackaged files carry the ImageNet normalisation inside the first convolution; feeding those normalised
    images spoils the matte.

    Folding x → (x − mean)/std makes the bias b − Σ mean·W, so it follows the weights' own sum per colour; in an
    ordinary file the two are unrelated.
    """
    first = model.bb.patch_embed.proj if model.config.family == "swin_v1" else model.bb.patch_embed1.proj
    if model.config.normalize == "none" or first.bias is None or first.out_channels < 2:
        return
    weight, bias = first.weight.detach().float().cpu(), first.bias.detach().float().cpu()
    folded = -(weight.sum((2, 3)) * torch.tensor(IMAGENET_MEAN)).sum(1)
    correlation = torch.corrcoef(torch.stack([bias, folded]))[0, 1].item()
    if correlation > FOLDED_CORRELATION:
        log.warning("the first convolution looks as if the ImageNet normalisation were folded into it (its bias follows "
                    "its weights, correlation %.2f); if mattes are poor, load with normalize=\"none\"", correlation)
