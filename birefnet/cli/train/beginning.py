"""The network that a run begins with: a checkpoint, or fresh weights of a named build."""

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
    """The network, and what its file says of it that its descendants should say too."""

    model: BiRefNet
    metadata: dict[str, str]


def begin(init: str, build: str | None, seed: int) -> Beginning:
    """init: a name of the catalog, a file, or "scratch", which takes `build` and `seed`. Raises CommandError."""
    if init != SCRATCH:
        if build is not None:
            raise CommandError(f"--build {build} is for --init scratch; the checkpoint {init} has a build of its own")
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
    metadata = ancestry(model, row.name, row.license) if row else ancestry(model, path.name)  # a name is only a hint
    if not model.config.supervision:  # a file without what only training uses
        whole = fresh(replace(model.config, supervision=True), seed)
        whole.load_state_dict(model.state_dict(), strict=False)
        model = whole
    return Beginning(model, metadata)
