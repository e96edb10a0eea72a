"""Tiny checkpoints of random weights (what they find means nothing), and the command line called
in-process."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import birefnet
from birefnet.__main__ import main
from birefnet.cli import models


class Result(NamedTuple):
    status: int
    messages: list[str]  # lines on stderr


@pytest.fixture(scope="session")
def network() -> birefnet.BiRefNet:
    """A BiRefNet of 0.8 million random weights that runs at 64 × 64."""
    config = birefnet.Config(
        family="swin_v1", widths=(16, 32, 64, 128), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8),
        kernels=(1, 3), inner=8, branch=8, patch_inner=8, size=(64, 64),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return birefnet.BiRefNet(config).initialize().eval()


@pytest.fixture(scope="session")
def tiny(network, tmp_path_factory) -> Path:
    """The file of `network`."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors"
    birefnet.save(network, path)
    return path


@pytest.fixture(scope="session")
def networks() -> dict[tuple, birefnet.BiRefNet]:
    """What `loaded_once` keeps."""
    return {}


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, networks):
    """Commands load a file that is as it was only once, and get a copy each; stacks of adapters are always
    read."""
    def load(path: Path, *, adapters: Sequence = (), **options: object) -> birefnet.BiRefNet:
        if adapters or not Path(path).is_file():
            return birefnet.load(path, adapters=adapters, **options)
        about = os.stat(path)
        key = str(path), about.st_ino, about.st_mtime_ns, about.st_size, repr(sorted(options.items()))
        if key not in networks:
            networks[key] = birefnet.load(path, **options)
        return copy.deepcopy(networks[key])

    monkeypatch.setattr(models, "load", load)


@pytest.fixture
def cut(tiny, capsys):
    """A function that runs `cut ... --model tiny --dtype fp32` and returns its exit status and messages."""
    def run(*arguments: object, model: object = tiny) -> Result:
        status = main(["cut", *map(str, arguments), "--model", str(model), "--dtype", "fp32"])
        return Result(status, [line for line in capsys.readouterr().err.splitlines() if line.strip()])

    return run


@pytest.fixture
def video(tiny, capsys):
    """A function that runs `video ... --model tiny` and returns its exit status and what it said."""
    def run(*arguments: object) -> tuple[int, str]:
        status = main(["video", *map(str, arguments), "--model", str(tiny), "--dtype", "fp32"])
        return status, capsys.readouterr().err

    return run


@pytest.fixture
def photo(tmp_path):
    """A function (name, size=(60, 40), **save options) that makes a picture of blobs of colour below
    tmp_path."""
    def make(name: str, size: tuple[int, int] = (60, 40), **options) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        blobs = np.random.default_rng(len(name)).integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC).save(path, **options)
        return path

    return make
