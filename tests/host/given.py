"""Makes what the templates open, example_workflows/input, from photographs of tests/data and drawn walls:

    python tests/host/given.py
"""

from __future__ import annotations

import shutil
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from host import PACK
from known import DATA
from PIL import Image

sys.path.append(str(PACK / "tests" / "training" / "finetune"))

import cracks  # noqa: E402

SAMPLES = PACK / "example_workflows" / "input"
PAIRS = 16  # pictures to learn from
QUALITY = 88

# Parts of photographs of which the included checkpoint makes good mattes: the photograph, and the box in it.
PARTS = {"portrait": ("astronaut.jpg", (95, 0, 375, 260)), "product": ("pair.jpg", (600, 150, 1160, 640)),
         "figure": ("pair.jpg", (0, 120, 600, 640))}
FILMED = (0, 0, 600, 450)  # of the figure


def main() -> None:
    photos = SAMPLES / "birefnet-photos"
    photos.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        part(name).save(SAMPLES / f"birefnet-{name}.jpg", quality=QUALITY, optimize=True)
        shutil.copy(SAMPLES / f"birefnet-{name}.jpg", photos / f"{name}.jpg")
    shutil.copy(DATA / "pair.jpg", SAMPLES / "birefnet-two-subjects.jpg")
    shutil.copy(DATA / "dandelion.jpg", SAMPLES / "birefnet-dandelion.jpg")
    surface().save(SAMPLES / "birefnet-surface.jpg", quality=QUALITY)
    clip(SAMPLES / "birefnet-clip.mp4", part("figure").crop(FILMED))
    walls(SAMPLES / "birefnet-pairs", PAIRS)
    wall = cracks.pictures("held out", 7, 0)[0][6]  # of bricks
    Image.fromarray((wall * 255).round().byte().numpy()).save(SAMPLES / "birefnet-wall.jpg", quality=QUALITY)


def part(name: str) -> Image.Image:
    """One of `PARTS`."""
    photo, box = PARTS[name]
    with Image.open(DATA / photo) as whole:
        return whole.convert("RGB").crop(box)


def surface(width: int = 1000, height: int = 800) -> Image.Image:
    """A bluish wall that turns into a light ground, for products."""
    wall, ground = np.array([189, 196, 204]), np.array([247, 245, 240])
    down = np.linspace(0, 1, height)[:, None, None]
    colours = wall + (ground - wall) * down**2 * (3 - 2 * down)
    return Image.fromarray(np.broadcast_to(colours.round().astype(np.uint8), (height, width, 3)).copy())


def walls(folder: Path, count: int) -> None:
    """Pictures of cracked walls in im/, and the cracks' masks in gt/."""
    for kind, frames in zip(("im", "gt"), cracks.pictures("training", count, 0)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(frames):
            shown = Image.fromarray((frame * 255).round().byte().numpy())
            if kind == "im":
                shown.save(folder / kind / f"wall-{i:02}.jpg", quality=QUALITY)
            else:
                shown.save(folder / kind / f"wall-{i:02}.png", optimize=True)


def clip(file: Path, picture: Image.Image, frames: int = 12, size: tuple[int, int] = (384, 288)) -> None:
    """An H.264 clip of one second: a camera that moves slowly towards a picture's middle; size is width, height."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(frames))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            crop = 0.2 * i / frames  # of the picture, left out at all sides together
            x, y = picture.width * crop / 2, picture.height * crop / 2
            seen = picture.resize(size, Image.Resampling.BICUBIC, (x, y, picture.width - x, picture.height - y))
            frame = av.VideoFrame.from_ndarray(np.asarray(seen.convert("RGB")), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
