"""Makes the templates' inputs, example_workflows/input, from photographs of tests/data and drawn walls:

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
from scipy.interpolate import PchipInterpolator

sys.path.append(str(PACK / "tests" / "training" / "finetune"))

import cracks  # noqa: E402

SAMPLES = PACK / "example_workflows" / "input"
PAIRS = 16  # training pictures
QUALITY = 88  # of JPEG

# Parts of photographs that the included checkpoint mattes well: the photograph, and the part's box.
PARTS = {"portrait": ("astronaut.jpg", (95, 0, 375, 260)), "product": ("pair.jpg", (600, 150, 1160, 640)),
         "figure": ("pair.jpg", (0, 120, 600, 640))}
FILMED = (0, 0, 600, 450)  # the part of the figure that the clip shows

# Objects of revolution for the catalogue: the picture's width and height, the object's middle and height in
# it (pixels), its colour, and its radius from top to bottom, in heights.
THINGS = {"bottle": ((480, 640), (170, 330), 420, (0.10, 0.33, 0.22),
                     (.045, .045, .05, .13, .15, .15, .15, .15, .14)),
          "vase": ((640, 480), (400, 270), 250, (0.16, 0.27, 0.52),
                   (.16, .12, .10, .16, .24, .28, .26, .20, .14)),
          "bowl": ((600, 450), (260, 250), 150, (0.66, 0.27, 0.18),
                   (.75, .74, .71, .66, .58, .48, .36, .25, .24))}
LIGHT = np.array([-0.5, -0.6, 0.63])  # direction to the light: left, above, in front


def main() -> None:
    photos = SAMPLES / "birefnet-photos"
    photos.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        part(name).save(SAMPLES / f"birefnet-{name}.jpg", quality=QUALITY, optimize=True)
        shutil.copy(SAMPLES / f"birefnet-{name}.jpg", photos / f"{name}.jpg")
    products = SAMPLES / "birefnet-products"
    products.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / "birefnet-product.jpg", products / "cup.jpg")
    for name in THINGS:
        thing(name).save(products / f"{name}.jpg", quality=QUALITY, optimize=True)
    shutil.copy(DATA / "pair.jpg", SAMPLES / "birefnet-two-subjects.jpg")
    shutil.copy(DATA / "dandelion.jpg", SAMPLES / "birefnet-dandelion.jpg")
    surface().save(SAMPLES / "birefnet-surface.jpg", quality=QUALITY)
    clip(SAMPLES / "birefnet-clip.mp4", part("figure").crop(FILMED))
    with Image.open(DATA / "pair.jpg") as both:
        clip(SAMPLES / "birefnet-two-subjects.mp4", both.convert("RGB"), size=(480, 256))
    walls(SAMPLES / "birefnet-pairs", PAIRS)
    wall = cracks.pictures("held out", 7, 0)[0][6]  # of bricks
    Image.fromarray((wall * 255).round().byte().numpy()).save(SAMPLES / "birefnet-wall.jpg", quality=QUALITY)


def part(name: str) -> Image.Image:
    """Return one of `PARTS`."""
    photo, box = PARTS[name]
    with Image.open(DATA / photo) as whole:
        return whole.convert("RGB").crop(box)


def thing(name: str, finer: int = 2) -> Image.Image:
    """Draw one of `THINGS`, glazed, on a light table before a wall. finer: factor of oversampling."""
    (width, height), middle, tall, colour, radii = THINGS[name]
    across, down = np.meshgrid(np.arange(width * finer) + 0.5, np.arange(height * finer) + 0.5)
    x, y = ((at / finer - centre) / tall for at, centre in ((across, middle[0]), (down, middle[1])))
    places = np.linspace(-0.5, 0.5, len(radii))
    smooth = PchipInterpolator(places, radii)
    radius, slope = (curve(y.clip(-0.5, 0.5)) for curve in (smooth, smooth.derivative()))
    inside = (np.abs(y) < 0.5) & (np.abs(x) < radius)
    depth = np.sqrt((radius**2 - x**2).clip(0))
    normal = np.stack([x, -radius * slope, depth], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-6)
    lit = (normal @ LIGHT).clip(0)
    gloss = (normal @ ((LIGHT + (0, 0, 1)) / np.linalg.norm(LIGHT + (0, 0, 1)))).clip(0) ** 60
    shaded = np.array(colour) * (0.35 + 0.9 * lit[..., None]) + 0.5 * gloss[..., None]
    table = 1 / (1 + np.exp(-(y - 0.3) * 30))
    shadow = 0.35 * np.exp(-(((x - 0.1) / (radii[-1] + 0.2)) ** 2) - ((y - 0.5) / 0.05) ** 2)
    around = (np.array([0.72, 0.70, 0.67]) + table[..., None] * 0.14) * (1 - shadow[..., None])
    picture = np.where(inside[..., None], shaded, around).clip(0, 1)
    return Image.fromarray((picture * 255).round().astype(np.uint8)).reduce(finer)


def surface(width: int = 1000, height: int = 800) -> Image.Image:
    """Draw a bluish wall that turns into a light ground, for products."""
    wall, ground = np.array([189, 196, 204]), np.array([247, 245, 240])
    down = np.linspace(0, 1, height)[:, None, None]
    colours = wall + (ground - wall) * down**2 * (3 - 2 * down)
    return Image.fromarray(np.broadcast_to(colours.round().astype(np.uint8), (height, width, 3)).copy())


def walls(folder: Path, count: int) -> None:
    """Write pictures of cracked walls to im/, and the cracks' masks to gt/."""
    for kind, frames in zip(("im", "gt"), cracks.pictures("training", count, 0)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(frames):
            shown = Image.fromarray((frame * 255).round().byte().numpy())
            if kind == "im":
                shown.save(folder / kind / f"wall-{i:02}.jpg", quality=QUALITY)
            else:
                shown.save(folder / kind / f"wall-{i:02}.png", optimize=True)


def clip(file: Path, picture: Image.Image, frames: int = 12, size: tuple[int, int] = (384, 288)) -> None:
    """Write an H.264 clip of one second: a slow zoom to a picture's middle. size: (width, height)."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(frames))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            crop = 0.2 * i / frames  # share of each side that is cropped, on both ends together
            x, y = picture.width * crop / 2, picture.height * crop / 2
            seen = picture.resize(size, Image.Resampling.BICUBIC,
                                  (x, y, picture.width - x, picture.height - y))
            frame = av.VideoFrame.from_ndarray(np.asarray(seen.convert("RGB")), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
