"""A tiny checkpoint of random weights (what it finds means nothing)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import birefnet


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The file of a BiRefNet of 0.8 million weights that runs at 64 × 64."""
    config = birefnet.Config(
        family="swin_v1", widths=(16, 32, 64, 128), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8),
        kernels=(1, 3), inner=8, branch=8, patch_inner=8, size=(64, 64),
    )
    path = tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        birefnet.save(birefnet.BiRefNet(config).initialize().eval(), path)
    return path
