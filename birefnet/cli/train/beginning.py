"""The network that a run starts from: a checkpoint, or fresh weights of a named build."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

import weights

from ... import BiRefNet, CheckpointError, Config, load
from ...checkpoint.load import ancestry
from ...network.builds import BACKBONES, NANO, config
from ..options import CommandError

SCRATCH = "scratch"


class Beginning(NamedTuple):
    """The network, and the metadata that checkpoints trained from it inherit."""

    model: BiRefNet
    metadata: dict[str, str]


def begin(init: str, build: str | None, seed: int) -> Beginning:
    """Loads or builds the network.

    Args:
        init: a name of the catalog, a file, or "scratch".
        build: for "scratch": "nano" or a backbone's name.
        seed: of fresh weights.

    Raises:
        CommandError: there is no such checkpoint or build.
    """
    if init != SCRATCH:
        if build is not None:
            raise CommandError(f"--build {build} is for --init scratch; the checkpoint {init} has a build "
                               "of its own")
        return _checkpoint(init, seed)
    if build is None:
        raise CommandError(f"--init scratch needs --build: nano, {', '.join(BACKBONES)}")
    if build != "nano" and build not in BACKBONES:
        raise CommandError(f"--build {build}: expected nano, {', '.join(BACKBONES)}")
    return Beginning(fresh(NANO if build == "nano" else config(build), seed), {})


def fresh(config: Config, seed: int) -> BiRefNet:
    torch.manual_seed(seed)
    return BiRefNet(config).initialize()


def _checkpoint(name: str, seed: int) -> Beginning:
    try:
        path = weights.find(name, weights.folders(), allow_paths=True)
        model = load(path, form="plain", defaults=weights.settings(path))
    except (CheckpointError, OSError) as error:  # weights.NotFound is an OSError
        raise CommandError(str(error)) from None
    row = weights.match(path)
    # Without a row of the catalog, the file's name is only a hint.
    metadata = ancestry(model, row.name, row.license) if row else ancestry(model, path.name)
    if not model.config.supervision:  # a file without what only training uses
        whole = fresh(replace(model.config, supervision=True), seed)
        whole.load_state_dict(model.state_dict(), strict=False)
        model = whole
    return Beginning(model, metadata)
