"""A build of few weights, and drawn pairs: these tests need no checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import birefnet


@pytest.fixture(scope="session")
def config() -> birefnet.Config:
    """20,000 weights that run at 64 × 64."""
    return birefnet.Config(family="pvt_v2", widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2),
                           multi_scale="none", kernels=(3,), inner=8, branch=8, patch_inner=4, gate=4,
                           size=(64, 64))


@pytest.fixture(scope="session")
def tiny(config, tmp_path_factory) -> Path:
    """A checkpoint of that build with fresh weights."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        birefnet.save(birefnet.BiRefNet(config).initialize(), path)
    return path


def write_pair(folder: Path, number: int) -> None:
    """A bright ellipse on dark ground, folder/im/NN.png, and its mask, folder/gt/NN.png, of an odd size."""
    rng = np.random.default_rng(number)
    height, width = rng.integers(70, 110, 2)
    y, x = np.mgrid[-1:1:height * 1j, -1:1:width * 1j]
    inside = np.hypot((x - rng.uniform(-0.3, 0.3)) / 0.5, (y - rng.uniform(-0.3, 0.3)) / 0.5) < 1
    colours = np.where(inside[..., None], rng.integers(150, 255, 3), rng.integers(0, 100, 3))
    picture = np.clip(colours + rng.integers(-20, 20, colours.shape), 0, 255).astype(np.uint8)
    for part, pixels in (("im", picture), ("gt", inside.astype(np.uint8) * 255)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / part / f"{number:02}.png")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    """Ten pairs in im/ and gt/; not to be changed."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(10):
        write_pair(folder, number)
    return folder
