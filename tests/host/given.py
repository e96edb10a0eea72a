"""What some templates expect in the host's input folder and no plain installation has: a clip, folders of pictures."""

from __future__ import annotations

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

CLIP = "clip.mp4"      # as the templates for video name it
FOLDER = "photos"      # as the template for folders does
PAIRS = "pairs"        # as the template for fine-tuning does

# Parts of photographs of which the included checkpoint makes good mattes: the photograph, and the box in it.
PARTS = {"face.png": ("astronaut.jpg", (95, 0, 375, 260)), "cup.png": ("pair.jpg", (600, 150, 1160, 640)),
         "figure.png": ("pair.jpg", (0, 120, 600, 640))}
SIZES = [(280, 260), (560, 490), (600, 520)]  # of them, and of the photos in the folder
FILMED = (0, 0, 600, 450)                     # of the figure


def give(folder: Path) -> None:
    """Puts them into an input folder."""
    (folder / FOLDER).mkdir(exist_ok=True)
    for name in PARTS:
        part(name).save(folder / FOLDER / name)
    clip(folder / CLIP, part("figure.png").crop(FILMED))
    walls(folder / PAIRS, 4)


def part(name: str) -> Image.Image:
    """One of `PARTS`."""
    photo, box = PARTS[name]
    with Image.open(DATA / photo) as whole:
        return whole.crop(box)


def walls(folder: Path, count: int) -> None:
    """Pictures of cracked walls in im/, and the cracks' masks in gt/."""
    for kind, frames in zip(("im", "gt"), cracks.pictures("training", count, 0)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(frames):
            Image.fromarray((frame * 255).round().byte().numpy()).save(folder / kind / f"{i}.png")


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
