"""Draws what the included checkpoint makes of the tests' photographs: README's first picture, and NANO.md's.

    python tests/cli/draw.py

Photographs above, mattes below in web/nano.jpg; photograph, matte and cut-out in web/result.jpg.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import birefnet  # noqa: E402
from birefnet.imaging import pictures  # noqa: E402
from birefnet.matting.views import checkerboard  # noqa: E402

DATA = ROOT / "tests" / "data"
RESULT = "camera"
HARD = ("astronaut", "coffee", "dandelion", "chelsea", "raccoon", "rocket")
SIDE, GAP = 420, 5  # pixels: a panel's height, between panels


def matted(model: birefnet.BiRefNet, name: str) -> tuple[Image.Image, Image.Image]:
    """A photograph and its matte."""
    alpha = birefnet.matte(model, pictures.read(DATA / f"{name}.jpg"))[0]
    with Image.open(DATA / f"{name}.jpg") as picture:
        return picture.convert("RGB"), grey(alpha)


def grey(values: torch.Tensor) -> Image.Image:
    """[H,W] in 0..1 as a picture."""
    return Image.fromarray((values.numpy() * 255).round().astype(np.uint8))


def row(panels: list[Image.Image], height: int) -> Image.Image:
    panels = [ImageOps.contain(panel.convert("RGB"), (10 * height, height)) for panel in panels]
    whole = Image.new("RGB", (sum(panel.width + GAP for panel in panels) - GAP, height), "white")
    x = 0
    for panel in panels:
        whole.paste(panel, (x, 0))
        x += panel.width + GAP
    return whole


def main() -> None:
    model = birefnet.load(ROOT / "weights" / "birefnet-nano.safetensors")
    photo, matte = (ImageOps.contain(panel, (SIDE, SIDE)) for panel in matted(model, RESULT))
    board = grey(checkerboard(photo.height, photo.width)[..., 0]).convert("RGB")
    row([photo, matte, Image.composite(photo, board, matte)], SIDE).save(ROOT / "web" / "result.jpg", quality=88)

    upper, lower = (row(list(panels), SIDE // 2) for panels in zip(*(matted(model, name) for name in HARD)))
    whole = Image.new("RGB", (upper.width, 2 * upper.height + GAP), "white")
    whole.paste(upper, (0, 0))
    whole.paste(lower, (0, upper.height + GAP))
    whole.save(ROOT / "web" / "nano.jpg", quality=88)


if __name__ == "__main__":
    main()
