"""The tiny build as fixtures."""

import sys
from pathlib import Path

import pytest
import torch

import birefnet

sys.path.insert(0, str(Path(__file__).parent))
from tiny_build import TINY, random_state  # noqa: E402


@pytest.fixture(scope="session")
def tiny_state() -> dict[str, torch.Tensor]:
    return random_state(TINY)


@pytest.fixture
def tiny(tiny_state) -> birefnet.BiRefNet:
    return birefnet.load(tiny_state, size=64, form="plain")
