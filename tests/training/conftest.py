"""A cache of procedurally drawn pictures, so that these tests need no installed package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from birefnet.training.nano.cache import pack


def disc(rng: np.random.Generator, side: int = 96) -> np.ndarray:
    y, x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
    pixels = np.empty((side, side, 4), np.uint8)
    pixels[..., :3] = rng.integers(150, 255, 3) + rng.integers(-20, 20, (side, side, 1))
    pixels[..., 3] = 255 * (np.hypot(x, y) < 0.9)
    return pixels


def entries():
    rng = np.random.default_rng(0)
    for kind in ("animal", "thing", "shape"):
        for i in range(3):
            yield kind, f"{kind}-{i}", disc(rng)
    for framing in ("full", "half", "head"):
        yield "person", framing, disc(rng)
    for kind in ("photograph", "pattern", "environment"):
        for i in range(2):
            yield kind, f"{kind}-{i}", rng.integers(0, 110, (120, 160, 3), np.uint8)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    pack(folder, entries())
    return folder
