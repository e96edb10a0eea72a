"""Pictures whose subject's box is known to a fraction of a pixel: cut-outs of tests/data laid on drawn
grounds.

    python tests/composite/known_boxes.py [NAME|FILE]

draws all of them, runs `python -m birefnet cut --frame` on them with the included checkpoint, or another, and
prints how far the framed boxes are from where the known ones belong.
"""

from __future__ import annotations

import functools
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from birefnet.composite import Placement, compose  # noqa: E402
from birefnet.imaging import pictures  # noqa: E402
from birefnet.imaging.boxes import bounding_box  # noqa: E402

DATA = ROOT / "tests" / "data"
SUBJECTS = ("astronaut", "coffee", "dandelion")
COUNT = 30
CANVAS, MARGIN = 2000, 100  # pixels, of the catalogue

Edges = tuple[float, float, float, float]  # top, left, bottom, right in pixels


@functools.cache
def subject(name: str) -> tuple[Tensor, Tensor]:
    return pictures.read(DATA / f"{name}.jpg"), pictures.read(DATA / f"{name}_mask.png")[..., 0]


def drawn(number: int) -> tuple[Tensor, Tensor, Edges]:
    """One of COUNT pictures: image [1,H,W,3], the subject's alpha [1,H,W] and its box."""
    draw = random.Random(number)
    name = SUBJECTS[number % len(SUBJECTS)]
    image, alpha = subject(name)
    box = bounding_box(alpha[0], 0.5)
    height, width = draw.randint(360, 640), draw.randint(360, 640)
    scale = draw.uniform(0.35, 0.9) * min(height / box.height, width / box.width)
    room = height - box.height * scale, width - box.width * scale
    top, left = (draw.uniform(0.02, 0.98) * free for free in room)
    where = Placement(top - box.top * scale, left - box.left * scale, scale)
    dark, bright = torch.tensor([[draw.uniform(0.2, 0.5), draw.uniform(0.6, 0.95)]
                                 for _ in range(3)]).unbind(1)
    ground = torch.lerp(bright, dark, torch.linspace(0, 1, height)[:, None, None]).expand(1, height, width, 3)
    picture, placed = compose(image, alpha, where, (height, width), ground)
    edges = tuple(start + side * scale for start, side in
                  ((where.top, box.top), (where.left, box.left), (where.top, box.bottom),
                   (where.left, box.right)))
    return picture, placed, edges


def framed_edges(edges: Edges, canvas: int, margin: int) -> Edges:
    """Where a box goes on a square canvas: in the middle, as large as the margin allows."""
    top, left, bottom, right = edges
    scale = (canvas - 2 * margin) / max(bottom - top, right - left)
    height, width = (bottom - top) * scale, (right - left) * scale
    return (canvas - height) / 2, (canvas - width) / 2, (canvas + height) / 2, (canvas + width) / 2


def main(checkpoint: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        photos, results = Path(folder) / "photos", Path(folder) / "results"
        wanted = {}
        for number in range(COUNT):
            picture, _, edges = drawn(number)
            pictures.write(photos / f"{number:02}.png", picture)
            wanted[f"{number:02}"] = framed_edges(edges, CANVAS, MARGIN)
        subprocess.run([sys.executable, "-m", "birefnet", "cut", str(photos), "-o", str(results), "--mask",
                        "--model",
                        checkpoint, "--frame", f"{CANVAS}x{CANVAS},margin=5%"], cwd=ROOT, check=True)
        errors = []
        for name, edges in wanted.items():
            box = bounding_box(pictures.read(results / f"{name}.png")[0, ..., 0], 0.5)
            errors.append(max(abs(found - known) for found, known in zip(box, edges)))
            print(f"{name}: {errors[-1]:.1f}")
    errors.sort()
    print(f"largest error of an edge, in pixels of {CANVAS}: median {errors[COUNT // 2]:.1f}, "
          f"{sum(error <= 20 for error in errors)} of {COUNT} within 20 (1 %), worst {errors[-1]:.1f}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["birefnet-nano"]))
