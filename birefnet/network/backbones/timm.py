"""Encoders of timm (Wightman 2019): any `features_only` model with maps at strides 4, 8, 16 and 32.

A checkpoint's tensors carry timm's names under `bb.`; which model it is, and its options, stand in the metadata
entry `birefnet.encoder`: a name such as "convnext_femto", or JSON such as
{"name": "convnext_femto", "act_layer": "relu"}. timm is imported when such a checkpoint is loaded, and never otherwise.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...files.errors import CheckpointError
from ...files.packages import PackageError, require
from ..family import Compose, Family, Shapes
from ..ops.algebra import folded_into
from ..ops.meta import Allocations, Consumers, meta_copy, sharing_copy

if TYPE_CHECKING:
    from ..config import Config

log = logging.getLogger(__name__)

STRIDES = (4, 8, 16, 32)
TRIED = 256  # side of the image with which a model's graph is looked at
# Options of timm.create_model that say where weights come from or what comes out: never taken from a file.
REFUSED = re.compile(r"pretrained|checkpoint|cache|feature|out_indices|in_chans|num_classes|script|export|device|"
                     r"dtype")


def parse_encoder(encoder: str) -> tuple[str, dict[str, Any]]:
    """timm's name of a model, and options of timm.create_model.

    Args:
        encoder: a name, or a JSON object with "name" and options whose values are numbers, strings, truth values,
            or lists of these.

    Raises:
        ValueError: for anything else, and for options that would load weights.
    """
    options: Any = {"name": encoder}
    if encoder.lstrip().startswith("{"):
        try:
            options = json.loads(encoder)
        except ValueError:
            options = {}
    name = options.pop("name", None)
    # With a colon or a slash in its name timm reads a folder or asks the hub.
    if not isinstance(name, str) or not re.fullmatch(r"\w+(\.\w+)?", name):
        raise ValueError(f'encoder is {encoder!r}; expected a name of timm such as "convnext_femto", or JSON such '
                         'as {"name": "convnext_femto", "act_layer": "relu"}')
    for key, value in options.items():
        values = value if isinstance(value, list) else [value]
        if REFUSED.search(key) or not all(isinstance(item, (bool, int, float, str)) for item in values):
            raise ValueError(f"encoder {name} has the option {key!r}, which a checkpoint cannot set")
    return name, options


def create(encoder: str, **weights: object) -> nn.Module:
    """timm's model of four feature maps, on the default device; with fresh weights, unless `weights`, options of
    timm.create_model, say otherwise. Raises CheckpointError."""
    try:
        name, options = parse_encoder(encoder)
        timm = require("timm", f"the encoder {name}")
    except (ValueError, PackageError) as error:
        raise CheckpointError(str(error)) from None
    if not timm.is_model(name):
        raise CheckpointError("correct the encoder's name, or install a newer timm (pip install --upgrade timm): "
                              f"timm {timm.__version__} has no model {name!r}")
    try:
        with torch.device("meta"):
            strides = build(timm, name, options).feature_info.reduction()
        if not set(STRIDES) <= set(strides):
            raise CheckpointError(f"choose an encoder with maps at strides {', '.join(map(str, STRIDES))}; timm's "
                                  f"{name} has {', '.join(map(str, strides))}")
        places = tuple(strides.index(stride) for stride in STRIDES)
        encoder = build(timm, name, {**options, "out_indices": places, **weights})
    except CheckpointError:
        raise
    except Exception as error:  # of some thousand models each has its own
        raise CheckpointError(f"timm {timm.__version__} cannot build the encoder {encoder}: {error}"
                              ) from None
    if getattr(encoder, "output_fmt", "NCHW") == "NHWC":
        encoder.register_forward_hook(put_channels_first)
    return encoder


def put_channels_first(encoder: nn.Module, inputs: tuple, maps: list[Tensor]) -> list[Tensor]:
    return [x.permute(0, 3, 1, 2) for x in maps]


def build(timm: ModuleType, name: str, options: dict[str, Any]) -> nn.Module:
    """A model on the default device, or on the CPU where that is the meta device and some operation lacks it."""
    try:
        return timm.create_model(name, features_only=True, **options)
    except NotImplementedError:
        with torch.device("cpu"):
            return timm.create_model(name, features_only=True, **options)


def taught_state(encoder: str, file: Path | None = None) -> dict[str, Tensor]:
    """The tensors of an encoder that somebody has taught.

    Args:
        encoder: see `parse_encoder`.
        file: weights as timm stores them, classifier and all (.safetensors, or a .pth of which nothing is
            executed); None downloads timm's own from the hub.

    Raises:
        CheckpointError: for a file of another model, and where the hub has none or cannot be reached.
    """
    overlay = {} if file is None else {"pretrained_cfg_overlay": {"file": str(file)}}
    return create(encoder, pretrained=True, **overlay).state_dict()


# Inference form ---------------------------------------------------------------------------------------------


def fused(plain: nn.Module, compose: Compose) -> nn.Module:
    """The same encoder in channels-last memory, batch norms folded where nothing else reads the convolution
    before them. It takes a bound on temporaries as other encoders do, and has no use for it."""
    encoder = sharing_copy(plain)
    modules = dict(plain.named_modules())
    convs = {name: module for name, module in modules.items() if isinstance(module, nn.Conv2d)}
    norms = dict(foldable(plain))
    for name, conv in convs.items():
        norm = norms.get(name)
        parts = [conv] if norm is None else [conv, modules[norm]]
        replace(encoder, name, compose(parts, lambda: folded_into(*map(sharing_copy, parts))))
        if norm is not None:
            # timm's batch norms carry the activation that follows them.
            replace(encoder, norm, getattr(encoder.get_submodule(norm), "act", nn.Identity()))
    encoder.register_forward_pre_hook(read_image)
    encoder.register_forward_hook(give_maps)
    return encoder


def foldable(encoder: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that alone read them; none where the model cannot be traced."""
    copied = meta_copy(encoder)
    try:
        with torch.no_grad(), Consumers() as consumers:
            maps = copied(torch.empty(1, 3, TRIED, TRIED, device="meta"))
    except Exception as error:  # constants of another device, a size that it does not take
        log.debug("the encoder's batch norms stay as they are: %s", error)
        return []
    convs = {id(module.weight): name for name, module in copied.named_modules()
             if isinstance(module, nn.Conv2d)}
    norms = {id(module.running_mean): name for name, module in copied.named_modules()
             if type(module).__name__ in ("BatchNorm2d", "BatchNormAct2d")}
    found = [(convs.get(id(weight)), norms.get(id(mean))) for weight, mean in consumers.normalised(maps)]
    once = {conv for conv, _ in found if sum(conv == other for other, _ in found) == 1}
    return [(conv, norm) for conv, norm in found if conv in once and norm]


def replace(encoder: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(encoder.get_submodule(parent), leaf, module)


def read_image(encoder: nn.Module, inputs: tuple) -> tuple[Tensor]:
    dtype = next(encoder.parameters()).dtype
    return (inputs[0].to(dtype).contiguous(memory_format=torch.channels_last),)


def give_maps(encoder: nn.Module, inputs: tuple, features: list[Tensor]) -> list[Tensor]:
    return [feature.contiguous(memory_format=torch.channels_last) for feature in features]


# The family -------------------------------------------------------------------------------------------------


class TimmFamily(Family):
    name = "timm"

    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        return bool(encoder)

    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        with torch.device("meta"):
            widths = tuple(create(encoder).feature_info.channels())
        return {"family": self.name, "encoder": encoder, "widths": widths}

    def check(self, config: Config) -> None:
        parse_encoder(config.encoder)

    def label(self, config: Config) -> str:
        return parse_encoder(config.encoder)[0]

    def build(self, config: Config) -> nn.Module:
        encoder = create(config.encoder)
        if not torch.empty(0).is_meta:
            return encoder
        if {name for name, _ in encoder.named_buffers()} - encoder.state_dict().keys():
            # Tables that no checkpoint holds: the meta device does not compute them.
            with torch.device("cpu"):
                encoder = create(config.encoder)
        state = {name: tensor.to("meta") for name, tensor in encoder.state_dict().items()}
        encoder.load_state_dict(state, assign=True)
        return encoder

    def fuse(self, plain: nn.Module, compose: Compose) -> nn.Module:
        return fused(plain, compose)

    def plain_bytes(self, encoder: nn.Module, config: Config, size: tuple[int, int]) -> float:
        return peak_bytes(encoder, size)

    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        return peak_bytes(encoder, size), 0

    def blocks_of(self, encoder: nn.Module) -> list[nn.Module]:
        """The repeated modules of each stage, which timm keeps in lists."""
        found: list[nn.Module] = []
        for module in encoder.modules():
            if isinstance(module, (nn.Sequential, nn.ModuleList)) and not any(
                    module in set(block.modules()) for block in found):
                found += [block for block in module if not isinstance(block, (nn.Sequential, nn.ModuleList))
                          and len(list(block.children())) > 1]
        return found

    def initialize(self, encoder: nn.Module) -> bool:
        return True  # timm has drawn them


def peak_bytes(encoder: nn.Module, size: tuple[int, int]) -> int:
    """Largest sum of what a pass over one image (H, W) allocates, its result included."""
    copied = meta_copy(encoder)
    with torch.no_grad(), Allocations() as allocations:
        copied(torch.empty(1, 3, *size, device="meta", dtype=next(copied.parameters()).dtype))
    return allocations.peak
