"""Two subjects in one picture, and the networks that tests of choosing between them share."""

from __future__ import annotations

import hashlib
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
    """The included network; a picture that it has seen is not computed again."""
    model, known = birefnet.load(weights.NANO), {}

    def alpha_of(pictures: torch.Tensor) -> torch.Tensor:
        key = pictures.shape, hashlib.sha256(pictures.contiguous().numpy()).digest()
        if key not in known:
            known[key] = birefnet.matte(model, pictures)
        return known[key].clone()

    return alpha_of
