"""Composites with known colours, made of the pictures of tests/data under mattes of drawn hair."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parent))  # composites

from composites import Composite, composites  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "data"
PHOTOS = ("chelsea", "raccoon", "coffee", "dandelion")
FINER = 8  # hair is drawn so many times larger, and reduced


@pytest.fixture(scope="session")
def known(tmp_path_factory) -> list[Composite]:
    """Twelve composites, the longer side 240 pixels."""
    folder = tmp_path_factory.mktemp("mattes")
    pairs = []
    for seed, name in enumerate(PHOTOS):
        with Image.open(DATA / f"{name}.jpg") as photo:
            photo.thumbnail((240, 240))
            size = photo.size
        hairy(size, seed).save(folder / f"{name}.png")
        pairs.append((DATA / f"{name}.jpg", folder / f"{name}.png"))
    return list(composites(pairs, 240))


def hairy(size: tuple[int, int], seed: int) -> Image.Image:
    """The matte of a disc with a few hundred bent hairs around it, a fraction of a pixel to a few pixels
    thick."""
    rng = np.random.default_rng(seed)
    width, height = size[0] * FINER, size[1] * FINER
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    middle, radius = np.array([width, height]) / 2, 0.28 * min(width, height)
    draw.ellipse([*(middle - radius), *(middle + radius)], fill=255)
    for angle in rng.uniform(0, 2 * np.pi, 400):
        along = np.linspace(0.95, 1 + rng.uniform(0.1, 0.6), 12)
        turn = angle + rng.normal(0, 0.25) * (along - 0.95)
        path = middle + radius * along[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        draw.line([tuple(point) for point in path], fill=int(rng.uniform(90, 256)),
                  width=int(rng.integers(2, 20)))
    return picture.resize(size, Image.Resampling.BOX)
