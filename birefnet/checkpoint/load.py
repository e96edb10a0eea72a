"""From checkpoint files to networks and back: `load` builds what the tensors say, `save` writes what `load` reads."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..device.cuda_graphs import Graphs
from ..device.dtypes import resolve_dtype
from ..files.errors import CheckpointError
from ..network.backbones.swin.plain import WindowAttention, relative_position_index
from ..network.backbones.timm import parse_encoder
from ..network.birefnet import BiRefNet
from ..network.builds import NANO, is_nano
from ..network.config import IMAGENET_MEAN, MULTI_SCALE, NORMALIZATIONS, PATCH_ORDERS, Config
from . import adapters as stack
from .assemble import REBUILT, assemble
from .detect import detect
from .tensorfile import Source, from_mapping, open_file, write_safetensors

log = logging.getLogger(__name__)

FOLDED_CORRELATION = 0.95  # 1 where the whole bias comes from folding, about 0 in a file that is as trained


def load(
    source: str | os.PathLike | Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str = torch.float32,
    patch_order: str = "auto",
    normalize: str = "auto",
    size: str | int | tuple[int, int] = "auto",
    multi_scale: str = "auto",
    heads: str | tuple[int, ...] = "auto",
    encoder: str = "auto",
    form: str = "inference",
    cuda_graphs: bool = False,
    adapters: Sequence[tuple[str | os.PathLike | stack.Adapter, float]] = (),
    defaults: Mapping[str, object] | None = None,
) -> BiRefNet:
    """Build the network that a checkpoint holds, in eval mode.

    source: path of a .safetensors, .pth or .pt file, or a state dict. Which network it is, is read off the tensors;
    prefixes and nesting of training scripts are removed, and any float storage is converted to `dtype` on `device`
    (a torch.dtype, "fp32", "fp16", "bf16", or "auto": what this device computes fastest in, see birefnet.best_dtype).
    What tensors cannot tell is taken from the arguments, else ("auto") from the file's metadata, else from `defaults`
    (what a catalog says of it, under the same names), else: patch_order "colour-slowest", normalize "imagenet", size
    1024 (an int, (height, width), or "dynamic"), multi_scale "none" for a backbone of single width, PVT v2 heads
    (1, 2, 5, 8). encoder: the name of one of timm's models, or JSON with its options, for encoders that come from there.
    form: "inference" gives the same logits with less arithmetic and memory (see birefnet.network.fused); "plain" is
    what can be trained and saved. cuda_graphs: replay a shape's passes from the second on, see
    birefnet.device.cuda_graphs. adapters: what fine-tuning learned on top, as (file or Adapter, strength), see
    birefnet.checkpoint.adapters.

    Raises FileNotFoundError, and CheckpointError (one sentence: what came, what was expected) for everything else
    that is wrong with the file.
    """
    told = {"patch_order": patch_order, "normalize": normalize, "size": size, "multi_scale": multi_scale,
            "heads": heads, "encoder": encoder}
    if form not in ("inference", "plain"):
        raise ValueError(f'form must be "inference" or "plain", got {form!r}')
    from_file, kind = isinstance(source, (str, os.PathLike)), resolve_dtype(dtype, device)
    stacked = [(item if isinstance(item, stack.Adapter) else stack.read(item), strength) for item, strength in adapters]
    try:
        opened = open_file(Path(source)) if from_file else from_mapping(source, copy=True)
        if stack.MARK in opened.metadata:
            raise CheckpointError("this is an adapter, not a checkpoint: load the checkpoint that it was made on "
                                  f"({opened.metadata.get('birefnet.base', 'unknown')}), and this as its adapter")
        config = configure(opened, told, defaults or {})
        model = assemble(stack.adapted(opened, config, stacked), config, device, kind, form)
    except CheckpointError as error:
        if not from_file:
            raise
        raise CheckpointError(f"{source}: {error}") from None
    warn_if_folded(model)
    model.metadata = dict(opened.metadata)
    if cuda_graphs:
        model.graphs = Graphs()
    return model


def configure(source: Source, told: Mapping[str, object], defaults: Mapping[str, object]) -> Config:
    settled = {}
    for key, value in told.items():
        text = source.metadata.get(f"birefnet.{key}")
        if value != "auto":
            settled[key] = parse(key, value)
        elif text is not None:
            try:
                settled[key] = parse(key, text)
            except ValueError as error:
                raise CheckpointError(f"in the file's metadata, {error}") from None
        elif key in defaults:
            settled[key] = parse(key, defaults[key])
    found = detect(source.shapes, settled.pop("multi_scale", None), settled.pop("heads", None),
                   settled.pop("encoder", ""))
    try:
        config = Config(**found, **settled, task=source.metadata.get("birefnet.task", ""))
    except ValueError as error:
        raise CheckpointError(f"the checkpoint's tensors do not fit together: {error}") from None
    if "size" not in settled and is_nano(config):
        return replace(config, size=NANO.size)
    return config


def parse(key: str, value: object) -> object:
    """A setting as `Config` holds it, from an argument, a catalog's row, or metadata's text. Raises ValueError."""
    if key == "size":
        return parse_size(value)
    if key == "heads":
        return parse_heads(value)
    if key == "encoder":
        parse_encoder(value)
        return value
    allowed = {"patch_order": PATCH_ORDERS, "normalize": NORMALIZATIONS, "multi_scale": MULTI_SCALE}[key]
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; expected {' or '.join(map(repr, allowed))}")
    return value


def parse_heads(heads: object) -> tuple[int, ...]:
    """Head counts of the four stages, from a sequence or "1,2,5,8"."""
    try:
        numbers = tuple(int(number) for number in (heads.split(",") if isinstance(heads, str) else heads))
    except (ValueError, TypeError):
        numbers = ()
    if len(numbers) != 4 or min(numbers) < 1:
        raise ValueError(f'heads is {heads!r}; expected four numbers such as "1,2,5,8"')
    return numbers


def parse_size(size: object) -> tuple[int, int] | None:
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

    metadata: extra entries, for instance {"birefnet.license": "GPL-3.0"}. dtype: storage of the weights. Raises OSError
    where the disk refuses.
    """
    if model.form != "plain":
        raise ValueError('the inference form cannot be saved: load with form="plain"')
    config, path = model.config, Path(path)
    size = "x".join(map(str, config.size)) if config.size else "dynamic"
    entries = {"task": config.task, "size": size, "normalize": config.normalize, "patch_order": config.patch_order,
               "multi_scale": config.multi_scale, "heads": ",".join(map(str, config.heads))}
    if config.encoder:
        entries["encoder"] = config.encoder
    entries = {"format": "pt", **{f"birefnet.{key}": value for key, value in entries.items()}, **(metadata or {})}
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()
             if not name.endswith(REBUILT)}
    for name, module in model.named_modules():
        if isinstance(module, WindowAttention):  # ComfyUI's own loader knows a Swin file by these
            state[f"{name}.relative_position_index"] = relative_position_index(module.window, torch.device("cpu")).clone()
    write_safetensors(path, state, entries)


def ancestry(model: BiRefNet, name: str, license: str | None = None) -> dict[str, str]:
    """Metadata for a checkpoint made from this loaded one: its name, and the licence that its file says, else `license`."""
    license = model.metadata.get("birefnet.license") or license
    return {"birefnet.base": name} | ({"birefnet.license": license} if license else {})


def warn_if_folded(model: BiRefNet) -> None:
    """Some repackaged files carry the ImageNet normalisation inside the first convolution; feeding those normalised
    images spoils the matte.

    Folding x → (x − mean)/std makes the bias b − Σ mean·W, so it follows the weights' own sum per colour; in an
    ordinary file the two are unrelated.
    """
    first = model.family.first_convolution(model.bb)
    if first is None or model.config.normalize == "none":
        return
    weight, bias = first.weight.detach().float().cpu(), first.bias.detach().float().cpu()
    folded = -(weight.sum((2, 3)) * torch.tensor(IMAGENET_MEAN)).sum(1)
    correlation = torch.corrcoef(torch.stack([bias, folded]))[0, 1].item()
    if correlation > FOLDED_CORRELATION:
        log.warning("the first convolution looks as if the ImageNet normalisation were folded into it (its bias follows "
                    "its weights, correlation %.2f); if mattes are poor, load with normalize=\"none\"", correlation)
