"""From checkpoint files to networks (`load`) and back (`save`)."""

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
from .adapters import KIND_ENTRY, Adapter, add_adapters
from .adapters import read as read_adapter
from .assemble import REBUILT, assemble
from .detect import detect
from .source import TensorSource
from .tensorfile import from_mapping, open_file, write_safetensors

log = logging.getLogger(__name__)

# Threshold for the correlation of the first convolution's bias with the bias that folding the normalisation
# would add: 1 if all of the bias comes from folding, about 0 in a checkpoint as it was trained.
FOLDED_CORRELATION = 0.95


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
    adapters: Sequence[tuple[str | os.PathLike | Adapter, float]] = (),
    defaults: Mapping[str, object] | None = None,
) -> BiRefNet:
    """Build the network that a checkpoint holds, in eval mode.

    The architecture is detected from the tensors' names and shapes. Prefixes and nesting that training
    scripts add are removed. Settings that tensors do not determine ("auto") come from the file's metadata,
    else from `defaults`, else the values below.

    Args:
        source: path of a .safetensors, .pth or .pt file, or a state dict.
        device: where the network's tensors are stored.
        dtype: of the network's tensors: a torch.dtype, "fp32", "fp16", "bf16", or "auto" for the device's
            fastest (see birefnet.best_dtype). Any float storage is converted.
        patch_order: channel order of stacked image tiles, "colour-slowest" (default) or "colour-fastest".
        normalize: what birefnet.matte does to the image first, "imagenet" (default) or "none".
        size: network size, an int, (height, width), "HxW", or "dynamic" to follow the photograph; default
            1024.
        multi_scale: "add" or "none" (default); "cat" is detected.
        heads: attention heads of each stage for PVT v2, default (1, 2, 5, 8); other encoders ignore it.
        encoder: for encoders of timm, the model's name, or JSON with its name and options.
        form: "inference" gives the same logits with less arithmetic and memory (see birefnet.network.fused);
            "plain" can be trained and saved.
        cuda_graphs: whether passes of one shape are replayed from the second on, see
            birefnet.device.cuda_graphs.
        adapters: (file or Adapter, strength) pairs, see birefnet.checkpoint.adapters.
        defaults: settings from a catalog, by these arguments' names.

    Returns:
        The network; its `config` is the detected build, its `metadata` the file's.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file cannot be used; the message says what to do, what was found, and what was
            expected.
        ValueError: an argument is wrong.
    """
    arguments = {"patch_order": patch_order, "normalize": normalize, "size": size, "multi_scale": multi_scale,
                 "heads": heads, "encoder": encoder}
    if form not in ("inference", "plain"):
        raise ValueError(f'Set form to "inference" or "plain": it is {form!r}')
    from_file, kind = isinstance(source, (str, os.PathLike)), resolve_dtype(dtype, device)
    added = [(item if isinstance(item, Adapter) else read_adapter(item), strength)
             for item, strength in adapters]
    try:
        opened = open_file(Path(source)) if from_file else from_mapping(source, copy=True)
        if KIND_ENTRY in opened.metadata:
            raise CheckpointError("Load the checkpoint that it was made on, and this as its adapter",
                                  "this is an adapter, not a checkpoint; it was made on "
                                  f"{opened.metadata.get('birefnet.base', 'an unknown build')}")
        config = configure(opened, arguments, defaults or {})
        model = assemble(add_adapters(opened, config, added), config, device, kind, form)
    except CheckpointError as error:
        if not from_file:
            raise
        raise error.at(source) from None
    warn_if_folded(model)
    model.metadata = dict(opened.metadata)
    if cuda_graphs:
        model.graphs = Graphs()
    return model


def configure(
    source: TensorSource, arguments: Mapping[str, object], defaults: Mapping[str, object]
) -> Config:
    """Detect a checkpoint's build, and choose the settings that its tensors do not determine.

    Args:
        source: the checkpoint's tensors and metadata.
        arguments: the caller's settings, by the names of `load`'s arguments; "auto" takes the
            metadata's, else that of `defaults`.
        defaults: settings from a catalog, by the same names.

    Raises:
        CheckpointError: it is not a BiRefNet, or its metadata is wrong.
        ValueError: a setting of the caller is wrong.
    """
    settings = {}
    for key, value in arguments.items():
        text = source.metadata.get(f"birefnet.{key}")
        if value != "auto":
            settings[key] = parse(key, value)
        elif text is not None:
            try:
                settings[key] = parse(key, text)
            except ValueError as error:
                raise CheckpointError(f"Correct birefnet.{key} in the file's metadata", str(error)) from None
        elif key in defaults:
            settings[key] = parse(key, defaults[key])
    found = detect(source.shapes, settings.pop("multi_scale", None), settings.pop("heads", None),
                   settings.pop("encoder", ""))
    try:
        config = Config(**found, **settings, task=source.metadata.get("birefnet.task", ""))
    except ValueError as error:
        raise CheckpointError("Choose another checkpoint",
                              f"its tensors do not fit together: {error}") from None
    if "size" not in settings and is_nano(config):
        return replace(config, size=NANO.size)
    return config


def parse(key: str, value: object) -> object:
    """Parse a setting for `Config` from an argument, a catalog's row or metadata. Raises ValueError."""
    if key == "size":
        return parse_size(value)
    if key == "heads":
        return parse_heads(value)
    if key == "encoder":
        parse_encoder(value)
        return value
    allowed = {"patch_order": PATCH_ORDERS, "normalize": NORMALIZATIONS, "multi_scale": MULTI_SCALE}[key]
    if value not in allowed:
        raise ValueError(f"Set {key} to {' or '.join(map(repr, allowed))}: it is {value!r}")
    return value


def parse_heads(heads: object) -> tuple[int, ...]:
    """Parse the head counts of the four stages, from a sequence or "1,2,5,8". Raises ValueError."""
    try:
        numbers = tuple(int(number) for number in (heads.split(",") if isinstance(heads, str) else heads))
    except (ValueError, TypeError):
        numbers = ()
    if len(numbers) != 4 or min(numbers) < 1:
        raise ValueError(f'Set heads to four numbers such as "1,2,5,8": it is {heads!r}')
    return numbers


def parse_size(size: object) -> tuple[int, int] | None:
    """Parse (height, width) from an int, a pair, "512" or "1440x2560" (height × width); "dynamic" gives None.

    Raises ValueError.
    """
    if size == "dynamic":
        return None
    try:
        sides = [int(side) for side in (size.lower().split("x") if isinstance(size, str) else
                                        [size] if isinstance(size, int) else size)]
    except (ValueError, TypeError):
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise ValueError(f'Set size to a number, (height, width), "HxW" or "dynamic": it is {size!r}')
    return sides[0], sides[-1]


def save(model: BiRefNet, path: str | os.PathLike, metadata: Mapping[str, str] | None = None,
         dtype: torch.dtype = torch.float32) -> None:
    """Write a .safetensors file atomically, with the settings that `load` needs in its metadata.

    Args:
        model: form "plain".
        path: the file; an existing one is replaced once the new one is complete.
        metadata: extra entries, for instance {"birefnet.license": "GPL-3.0"}.
        dtype: of the stored tensors.

    Raises:
        ValueError: the model is in the inference form.
        OSError: the file cannot be written.
    """
    if model.form != "plain":
        raise ValueError('Load with form="plain": the inference form cannot be saved')
    path = Path(path)
    entries = {"task": model.config.task, **undetermined_settings(model.config)}
    entries = {"format": "pt", **{f"birefnet.{key}": value for key, value in entries.items()},
               **(metadata or {})}
    state = {name: tensor.detach().to("cpu", dtype).contiguous()
             for name, tensor in model.state_dict().items()
             if not name.endswith(REBUILT)}
    for name, module in model.named_modules():
        if isinstance(module, WindowAttention):  # ComfyUI's own loader recognises Swin checkpoints by these
            index = relative_position_index(module.window, torch.device("cpu"))
            state[f"{name}.relative_position_index"] = index.clone()
    write_safetensors(path, state, entries)


def undetermined_settings(config: Config) -> dict[str, str]:
    """Return the settings that a network's tensors do not determine.

    Returns:
        Values by the names of `load`'s arguments, as text: `load` reads it as an argument and in a file's
        metadata.
    """
    settings = {"size": "x".join(map(str, config.size)) if config.size else "dynamic",
                "normalize": config.normalize, "patch_order": config.patch_order,
                "multi_scale": config.multi_scale, "heads": ",".join(map(str, config.heads))}
    return settings | {"encoder": config.encoder} if config.encoder else settings


def ancestry(model: BiRefNet, name: str, license: str | None = None) -> dict[str, str]:
    """Make metadata for a checkpoint derived from a loaded one.

    Args:
        model: the loaded network.
        name: of the checkpoint that `model` was loaded from.
        license: of that checkpoint, used if its file does not name one.
    """
    license = model.metadata.get("birefnet.license") or license
    return {"birefnet.base": name} | ({"birefnet.license": license} if license else {})


def warn_if_folded(model: BiRefNet) -> None:
    """Warn of a checkpoint whose first convolution seems to include the ImageNet normalisation.

    Some repackaged files do; with normalised images they give poor mattes. Folding x → (x − mean)/std changes
    the bias b to b − Σ mean·W, which correlates with the weights' sum per colour; otherwise the two are
    unrelated.
    """
    first = model.family.first_convolution(model.bb)
    if first is None or model.config.normalize == "none":
        return
    weight, bias = first.weight.detach().float().cpu(), first.bias.detach().float().cpu()
    folded = -(weight.sum((2, 3)) * torch.tensor(IMAGENET_MEAN)).sum(1)
    correlation = torch.corrcoef(torch.stack([bias, folded]))[0, 1].item()
    if correlation > FOLDED_CORRELATION:
        log.warning("the first convolution looks as if the ImageNet normalisation were folded into it (its "
                    "bias follows its weights, correlation %.2f); if mattes are poor, load with "
                    "normalize=\"none\"",
                    correlation)
