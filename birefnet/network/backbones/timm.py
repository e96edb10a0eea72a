"""Encoders of timm (Wightman 2019): any `features_only` model with maps at strides 4, 8, 16 and 32.

A checkpoint's tensors have timm's names after `bb.`. The model's name and options are in the metadata entry
`birefnet.encoder`: a name such as "convnext_femto", or JSON such as
{"name": "convnext_femto", "act_layer": "relu"}. timm is imported only when such a checkpoint is loaded.
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
from ..ops.algebra import fold_norm_
from ..ops.meta import Allocations, Consumers, copy_modules, copy_to_meta

if TYPE_CHECKING:
    from ..config import Config

log = logging.getLogger(__name__)

STRIDES = (4, 8, 16, 32)
TRACE_SIDE = 256  # pixels, of the image for which a model's operations are recorded
# Options of timm.create_model that choose weights or outputs; a file must not set them.
FORBIDDEN_OPTIONS = re.compile(r"pretrained|checkpoint|cache|feature|out_indices|in_chans|num_classes|script|"
                               r"export|device|dtype")


def parse_encoder(encoder: str) -> tuple[str, dict[str, Any]]:
    """Parse an encoder's name and options.

    Args:
        encoder: a name, or a JSON object with "name" and options whose values are numbers, strings, booleans,
            or lists of these.

    Returns:
        timm's model name, and options for timm.create_model.

    Raises:
        ValueError: `encoder` is neither, or it has a forbidden option.
    """
    options: Any = {"name": encoder}
    if encoder.lstrip().startswith("{"):
        try:
            options = json.loads(encoder)
        except ValueError:
            options = {}
    name = options.pop("name", None)
    # Names with a colon or a slash make timm read a folder or a hub.
    if not isinstance(name, str) or not re.fullmatch(r"\w+(\.\w+)?", name):
        raise ValueError('Set encoder to a name of timm such as "convnext_femto", or JSON such as {"name": '
                         f'"convnext_femto", "act_layer": "relu"}}: it is {encoder!r}')
    for key, value in options.items():
        values = value if isinstance(value, list) else [value]
        plain = all(isinstance(item, (bool, int, float, str)) for item in values)
        if FORBIDDEN_OPTIONS.search(key) or not plain:
            raise ValueError(f"Remove the option {key!r} of the encoder {name}: a checkpoint cannot set it")
    return name, options


def create_encoder(encoder: str, **weights: object) -> nn.Module:
    """Create timm's model with four feature maps, on the default device.

    Args:
        encoder: see `parse_encoder`.
        weights: options of timm.create_model that choose weights; random weights by default.

    Raises:
        CheckpointError: timm is missing, or cannot create it.
    """
    try:
        name, options = parse_encoder(encoder)
        timm = require("timm", f"the encoder {name}")
    except (ValueError, PackageError) as error:
        raise CheckpointError(str(error)) from None
    if not timm.is_model(name):
        raise CheckpointError("Correct the encoder's name, or install a newer timm (pip install --upgrade "
                              "timm)", f"timm {timm.__version__} has no model {name!r}")
    try:
        with torch.device("meta"):
            strides = build(timm, name, options).feature_info.reduction()
        if not set(STRIDES) <= set(strides):
            raise CheckpointError(f"Choose an encoder with maps at strides {', '.join(map(str, STRIDES))}",
                                  f"timm's {name} has {', '.join(map(str, strides))}")
        indices = tuple(strides.index(stride) for stride in STRIDES)
        encoder = build(timm, name, {**options, "out_indices": indices, **weights})
    except CheckpointError:
        raise
    except Exception as error:  # depends on the model
        raise CheckpointError("Choose another encoder",
                              f"timm {timm.__version__} cannot build the encoder {encoder}: {error}"
                              ) from None
    if getattr(encoder, "output_fmt", "NCHW") == "NHWC":
        encoder.register_forward_hook(put_channels_first)
    return encoder


def put_channels_first(encoder: nn.Module, inputs: tuple, maps: list[Tensor]) -> list[Tensor]:
    """Forward hook: maps [B,H,W,C] → [B,C,H,W]."""
    return [x.permute(0, 3, 1, 2) for x in maps]


def build(timm: ModuleType, name: str, options: dict[str, Any]) -> nn.Module:
    """Create a model on the default device, or on the CPU if one of its operations lacks the meta device."""
    try:
        return timm.create_model(name, features_only=True, **options)
    except NotImplementedError:
        with torch.device("cpu"):
            return timm.create_model(name, features_only=True, **options)


def load_pretrained_state(encoder: str, file: Path | None = None) -> dict[str, Tensor]:
    """Load the tensors of a pretrained encoder.

    Args:
        encoder: see `parse_encoder`.
        file: weights of timm's whole model, with its classifier (.safetensors, or .pth, of which nothing is
            executed); None downloads timm's own from the hub.

    Raises:
        CheckpointError: the file is another model's, or the hub has none or cannot be reached.
    """
    overlay = {} if file is None else {"pretrained_cfg_overlay": {"file": str(file)}}
    return create_encoder(encoder, pretrained=True, **overlay).state_dict()


# Inference form ---------------------------------------------------------------------------------------------


def fuse_encoder(plain: nn.Module, compose: Compose) -> nn.Module:
    """Make the inference form: channels-last, batch norms folded into convolutions that only they read."""
    encoder = copy_modules(plain)
    modules = dict(plain.named_modules())
    convs = {name: module for name, module in modules.items() if isinstance(module, nn.Conv2d)}
    norms = dict(find_foldable(plain))
    for name, conv in convs.items():
        norm = norms.get(name)
        parts = [conv] if norm is None else [conv, modules[norm]]
        replace_module(encoder, name, compose(parts, lambda: fold_norm_(*map(copy_modules, parts))))
        if norm is not None:
            # timm's batch norms contain the activation after them.
            replace_module(encoder, norm, getattr(encoder.get_submodule(norm), "act", nn.Identity()))
    encoder.register_forward_pre_hook(prepare_image)
    encoder.register_forward_hook(to_channels_last)
    return encoder


def find_foldable(encoder: nn.Module) -> list[tuple[str, str]]:
    """Find (convolution, batch norm) names where only the norm reads the convolution; [] without a trace."""
    copied = copy_to_meta(encoder)
    try:
        with torch.no_grad(), Consumers() as consumers:
            maps = copied(torch.empty(1, 3, TRACE_SIDE, TRACE_SIDE, device="meta"))
    except Exception as error:  # constants on another device, an unsupported size
        log.debug("the encoder's batch norms are not folded: %s", error)
        return []
    convs = {id(module.weight): name for name, module in copied.named_modules()
             if isinstance(module, nn.Conv2d)}
    norms = {id(module.running_mean): name for name, module in copied.named_modules()
             if type(module).__name__ in ("BatchNorm2d", "BatchNormAct2d")}
    found = [(convs.get(id(weight)), norms.get(id(mean))) for weight, mean in consumers.find_normalized(maps)]
    once = {conv for conv, _ in found if sum(conv == other for other, _ in found) == 1}
    return [(conv, norm) for conv, norm in found if conv in once and norm]


def replace_module(encoder: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the submodule at a dotted name."""
    parent, _, leaf = name.rpartition(".")
    setattr(encoder.get_submodule(parent), leaf, module)


def prepare_image(encoder: nn.Module, inputs: tuple) -> tuple[Tensor]:
    """Forward pre-hook: (image, scratch) → the image alone, channels-last, in the weights' dtype."""
    dtype = next(encoder.parameters()).dtype
    return (inputs[0].to(dtype).contiguous(memory_format=torch.channels_last),)


def to_channels_last(encoder: nn.Module, inputs: tuple, features: list[Tensor]) -> list[Tensor]:
    """Forward hook: maps in channels-last memory."""
    return [feature.contiguous(memory_format=torch.channels_last) for feature in features]


# The family -------------------------------------------------------------------------------------------------


class TimmFamily(Family):
    """Any other encoder that the metadata names."""

    name = "timm"

    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        return bool(encoder)

    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        with torch.device("meta"):
            widths = tuple(create_encoder(encoder).feature_info.channels())
        return {"family": self.name, "encoder": encoder, "widths": widths}

    def check(self, config: Config) -> None:
        parse_encoder(config.encoder)

    def label(self, config: Config) -> str:
        return parse_encoder(config.encoder)[0]

    def build(self, config: Config) -> nn.Module:
        encoder = create_encoder(config.encoder)
        if not torch.empty(0).is_meta:
            return encoder
        if {name for name, _ in encoder.named_buffers()} - encoder.state_dict().keys():
            # Buffers that checkpoints do not hold must be computed, which the meta device does not do.
            with torch.device("cpu"):
                encoder = create_encoder(config.encoder)
        state = {name: tensor.to("meta") for name, tensor in encoder.state_dict().items()}
        encoder.load_state_dict(state, assign=True)
        return encoder

    def fuse(self, plain: nn.Module, compose: Compose) -> nn.Module:
        return fuse_encoder(plain, compose)

    def plain_bytes(self, encoder: nn.Module, config: Config, size: tuple[int, int]) -> float:
        return peak_bytes(encoder, size)

    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        return peak_bytes(encoder, size), 0

    def blocks_of(self, encoder: nn.Module) -> list[nn.Module]:
        """Return the repeated modules of each stage, which timm puts into lists."""
        found: list[nn.Module] = []
        for module in encoder.modules():
            if isinstance(module, (nn.Sequential, nn.ModuleList)) and not any(
                    module in set(block.modules()) for block in found):
                found += [block for block in module if not isinstance(block, (nn.Sequential, nn.ModuleList))
                          and len(list(block.children())) > 1]
        return found

    def initialize(self, encoder: nn.Module) -> bool:
        return True  # by timm's create_model


def peak_bytes(encoder: nn.Module, size: tuple[int, int]) -> int:
    """Measure the peak bytes that a pass over one image (H, W) allocates, its results included."""
    copied = copy_to_meta(encoder)
    with torch.no_grad(), Allocations() as allocations:
        copied(torch.empty(1, 3, *size, device="meta", dtype=next(copied.parameters()).dtype))
    return allocations.peak
