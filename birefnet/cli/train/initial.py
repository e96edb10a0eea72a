"""The network that a run starts from: a checkpoint, or fresh weights of a named build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

import weights

from ... import BiRefNet, CheckpointError, Config, load
from ...checkpoint.load import ancestry
from ...network.backbones.timm import load_pretrained_state
from ...network.builds import BACKBONES, NANO, TIMM, config
from ..models import find_checkpoint
from ..options import CommandError

SCRATCH, HUB = "scratch", "hub"


class InitialNetwork(NamedTuple):
    """The network, and the metadata that checkpoints trained from it inherit."""

    model: BiRefNet
    metadata: dict[str, str]


def load_initial(init: str, build: str | None, seed: int, encoder: str | None = None) -> InitialNetwork:
    """Load or build the network.

    Args:
        init: a name of the catalog, a file, or "scratch".
        build: for "scratch": "nano", a backbone's name, or "timm:NAME".
        seed: of fresh weights.
        encoder: for "timm:NAME": a file of timm's weights, or "hub"; None leaves the weights fresh.

    Raises:
        CommandError: there is no such checkpoint, build or file.
    """
    if init != SCRATCH:
        for option, value in (("--build", build), ("--encoder", encoder)):
            if value is not None:
                raise CommandError(f"{option} {value} is for --init scratch; the checkpoint {init} has a "
                                   "build of its own")
        return _checkpoint(init, seed)
    choices = f"nano, {', '.join(BACKBONES)}, or {TIMM}NAME"
    if build is None:
        raise CommandError(f"--init scratch needs --build: {choices}")
    if build != "nano" and build not in BACKBONES and not build.startswith(TIMM):
        raise CommandError(f"--build {build}: expected {choices}")
    if encoder is not None and not build.startswith(TIMM):
        raise CommandError(f"--encoder {encoder} is for --build {TIMM}NAME, got --build {build}")
    try:
        model = build_random(NANO if build == "nano" else config(build), seed)
        if encoder is not None:
            model.bb.load_state_dict(load_pretrained_state(model.config.encoder, _weights_file(encoder)))
    except CheckpointError as error:
        raise CommandError(str(error)) from None
    return InitialNetwork(model, {})


def _weights_file(encoder: str) -> Path | None:
    """The path of --encoder; None for the hub."""
    if encoder == HUB:
        return None
    if not Path(encoder).is_file():
        raise CommandError(f"--encoder {encoder}: no such file; expected a file of timm's weights, or {HUB}")
    return Path(encoder)


def build_random(config: Config, seed: int) -> BiRefNet:
    """Build a network with random weights, the same for a seed."""
    torch.manual_seed(seed)
    return BiRefNet(config).initialize()


def _checkpoint(name: str, seed: int) -> InitialNetwork:
    """Load a checkpoint for training; heads that only training uses get fresh weights if it lacks them."""
    path = find_checkpoint(name)
    try:
        model = load(path, form="plain", defaults=weights.settings(path))
    except (CheckpointError, OSError) as error:
        raise CommandError(str(error)) from None
    row = weights.match(path)
    # Without a row of the catalog, the file's name is only a hint.
    metadata = ancestry(model, row.name, row.license) if row else ancestry(model, path.name)
    if not model.config.supervision:  # a file without the heads that only training uses
        complete = build_random(replace(model.config, supervision=True), seed)
        complete.load_state_dict(model.state_dict(), strict=False)
        model = complete
    return InitialNetwork(model, metadata)
