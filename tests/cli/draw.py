"""Draws what the included checkpoint makes of the tests' photographs: README's first picture, and NANO.md's.

    python tests/cli/draw.py

Photographs above, mattes below in web/nano.jpg; photograph, matte and cut-out in web/result.jpg; photographs
above, their catalogue below in web/catalogue.jpg.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import birefnet  # noqa: E402
from birefnet.__main__ import main as main_command  # noqa: E402
from birefnet.imaging import pictures  # noqa: E402
from birefnet.matting.views import checkerboard  # noqa: E402

DATA = ROOT / "tests" / "data"
RESULT = "figure"
HARD = ("astronaut", "coffee", "dandelion", "chelsea", "raccoon", "rocket")
PRODUCTS = ROOT / "example_workflows" / "input" / "birefnet-products"
CATALOGUE = ("--format", "jpg", "--quality", "90", "--background", "white", "--clean-edges", "--refine",
             "levels=0.3:0.9,largest=1,holes=2000", "--frame",
             "2000x2000,margin=5%,position=bottom,shadow=contact")
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
    row([photo, matte, Image.composite(photo, board, matte)],
        SIDE).save(ROOT / "web" / "result.jpg", quality=88)

    upper, lower = (row(list(panels), SIDE // 2) for panels in zip(*(matted(model, name) for name in HARD)))
    above(upper, lower).save(ROOT / "web" / "nano.jpg", quality=88)
    catalogue()


def above(upper: Image.Image, lower: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (upper.width, upper.height + GAP + lower.height), "white")
    whole.paste(upper, (0, 0))
    whole.paste(lower, (0, upper.height + GAP))
    return whole


def catalogue() -> None:
    """By the command that docs/command-line.md names."""
    with tempfile.TemporaryDirectory() as folder:
        main_command(["cut", str(PRODUCTS), "-o", folder, *CATALOGUE])
        photos = sorted(PRODUCTS.glob("*.jpg"))
        shown = [ImageOps.pad(Image.open(photo), (SIDE // 2, SIDE // 2), color="white") for photo in photos]
        made = [Image.open(Path(folder) / photo.name).resize((SIDE // 2, SIDE // 2), Image.Resampling.LANCZOS)
                for photo in photos]
        above(row(shown, SIDE // 2), row(made, SIDE // 2)).save(ROOT / "web" / "catalogue.jpg", quality=88)


if __name__ == "__main__":
    main()
