"""Two subjects in one picture, and the networks that tests of choosing between them share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import birefnet
import weights
from birefnet.checkpoint.selector import load_selector

DATA = Path(__file__).parents[1] / "data"
NAMES = ("astronaut", "coffee")


def read(name: str, mode: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(DATA / name).convert(mode), dtype=np.float32) / 255)[None]


@pytest.fixture(scope="package")
def image() -> torch.Tensor:
    return read("pair.jpg", "RGB")


@pytest.fixture(scope="package")
def known() -> dict[str, torch.Tensor]:
    return {name: read(f"pair_{name}_mask.png", "L") for name in NAMES}


@pytest.fixture(scope="package")
def selector():
    return load_selector(weights.SELECTOR)


@pytest.fixture(scope="package")
def nano():
    model = birefnet.load(weights.NANO)
    return lambda pictures: birefnet.matte(model, pictures)
