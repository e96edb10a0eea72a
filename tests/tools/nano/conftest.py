"""Procedurally drawn pictures: these tests need no installed package of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tools.nano.cache import pack


def draw_disc(rng: np.random.Generator, side: int = 96) -> np.ndarray:
    """A light disc, uint8 RGBA [side,side,4]."""
    y, x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
    pixels = np.empty((side, side, 4), np.uint8)
    pixels[..., :3] = rng.integers(150, 255, 3) + rng.integers(-20, 20, (side, side, 1))
    pixels[..., 3] = 255 * (np.hypot(x, y) < 0.9)
    return pixels


def draw_pictures() -> Iterator[tuple[str, str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for kind in ("animal", "thing", "model"):
        for i in range(3):
            yield kind, f"{kind}-{i}", draw_disc(rng)
    for kind in ("person", "human"):
        for framing in ("full", "half", "head"):
            yield kind, framing, draw_disc(rng)
    for kind in ("scene", "portrait"):
        whole = np.full((120, 160, 4), (40, 60, 50, 0), np.uint8)
        whole[10:106, 30:126] = draw_disc(rng)
        whole[..., :3][whole[..., 3] == 0] = (40, 60, 50)
        yield kind, kind, whole
    for kind in ("place", "empty", "panorama"):
        for i in range(2):
            yield kind, f"{kind}-{i}", rng.integers(0, 110, (120, 160, 3), np.uint8)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    pack(folder, draw_pictures())
    return folder
