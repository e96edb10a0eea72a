"""Tiny builds of random weights, and their exported files opened in onnxruntime."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch

import birefnet
from birefnet.export.graph import Contract
from birefnet.export.write import Exported
from birefnet.network import builds

RECIPE = Path(__file__).parents[1] / "network" / "recipe.py"
spec = importlib.util.spec_from_file_location("export_recipe", RECIPE)
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)

DECODER = {"inner": 8, "branch": 8, "patch_inner": 8, "gate": 4, "size": (96, 128)}
PVT = {"family": "pvt_v2", "widths": (8, 16, 40, 64), "depths": (1, 1, 1, 1), "heads": (1, 2, 5, 8),
       "mlp_ratios": (2, 2, 2, 2), "multi_scale": "none"}


def encoder(name: str) -> birefnet.Config:
    """A light decoder on one of timm's encoders, or EfficientNet-Lite."""
    config = builds.config(f"timm:{name}")
    return dataclasses.replace(config, multi_scale="none", attention="none", **DECODER)


# One of each family, as light as shows what its files need: shifted windows and the half-size look, deformed
# branches.
FAMILIES = {
    "swin_v1": birefnet.Config(family="swin_v1", widths=(16, 32, 64, 128), depths=(2, 1, 1, 2),
                               heads=(1, 2, 4, 8), mlp_ratios=(2, 2, 2, 2), kernels=(3,), **DECODER),
    "pvt_v2": birefnet.Config(**PVT, kernels=(3,), **DECODER),
    "dino_v3": birefnet.Config(family="dino_v3", widths=(32,) * 4, depths=(1, 1, 1, 1), heads=(2,) * 4,
                               mlp_ratios=(2,) * 4, neck=(8, 16, 24, 40), attention="plain", **DECODER),
    "efficientnet_lite": encoder("tf_efficientnet_lite0"),
    "timm": encoder('{"name": "resnet10t", "act_layer": "silu"}'),
}
SMALL = "small"  # for what has nothing to do with the family
BUILDS = {**FAMILIES, SMALL: birefnet.Config(**PVT, attention="none", **DECODER)}


class Made(NamedTuple):
    """A file, how it came to be, and how to load the network that it was made of."""

    exported: Exported
    lines: list[str]
    load: Callable[..., birefnet.BiRefNet]
    contract: Contract

    def graph(self) -> onnx.ModelProto:
        return onnx.load(self.exported.file)

    def run(self, images: torch.Tensor) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(self.exported.file), options,
                                               providers=["CPUExecutionProvider"])
        [found] = session.run([self.contract.output_name], {self.contract.input_name: images.numpy()})
        return found


def random_state(config: birefnet.Config) -> dict[str, torch.Tensor]:
    """Weights in which every tensor matters: deformable branches deform, norms are not the identity."""
    state = birefnet.BiRefNet(config).state_dict()
    return {name: torch.from_numpy(recipe.tensor(name, tensor.shape)) for name, tensor in state.items()
            if tensor.is_floating_point()}


def loader(build: str, **options) -> Callable[..., birefnet.BiRefNet]:
    config = BUILDS[build]
    state = random_state(config)
    told = {"size": config.size, "multi_scale": config.multi_scale}
    if config.encoder:
        told["encoder"] = config.encoder

    def load(form: str = "plain") -> birefnet.BiRefNet:
        return birefnet.load(state, form=form, **{**told, **options})

    return load
