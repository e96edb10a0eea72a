"""Compose pictures of two or three subjects, with the visible matte of each.

Cut-outs come from a cache of tools.nano (photographs; for training also rendered models and persons), from
the photographs of tests/data with a matte, and from folders of pairs (im/ and gt/). All randomness comes from
a generator that the caller provides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from ..nano.cache import Pictures, pack
from ..nano.photographs import crop_to_subject, read_photographs

DATA = Path(__file__).parents[2] / "tests" / "data"
HELD_OUT_STEP = 4          # every 4th cut-out of a kind is held out from training
KNOWN = ("astronaut", "coffee", "dandelion")  # photographs of tests/data with mattes
CUTOUT_SIDE = 640          # pixels: longer side of cut-outs of whole photographs
SIDES = (640, 960)         # pixels: range of a picture's longer side
OVERLAPPING, ALIKE = 0.35, 0.35  # shares of pictures: subjects overlap; subjects are of one kind
DOUBLES = 0.25             # share of pictures with one kind that show one cut-out several times
RENDERED = 0.5             # share of pictures whose first cut-out is a rendered one, if there are any
HEIGHTS = (0.28, 0.62)     # range of a subject's size (root of its box's area) over the shorter side
LEAST_SEEN = 0.6           # least share of each subject that is not hidden by others
MOST_APART = 0.02          # hidden share of a subject up to which subjects count as not overlapping

Rng = np.random.Generator


@dataclass
class Cutout:
    """A subject with its matte."""

    name: str
    kind: str
    pixels: np.ndarray  # uint8 RGBA


@dataclass
class Scene:
    """A composed picture, uint8 [H,W,3], and the visible part of each subject's alpha, float32 [H,W]."""

    image: np.ndarray
    alphas: list[np.ndarray]
    overlapping: bool
    alike: bool


@dataclass
class Sources:
    """What scenes are composed of."""

    cutouts: list[Cutout]
    places: list[np.ndarray]   # backgrounds, uint8 RGB
    scenes: list[np.ndarray]   # uncropped photographs with the matte of their only subject, uint8 RGBA
    rendered: list[Cutout] = field(default_factory=list)


def read_sources(cache: Path, part: str = "all", pairs: Sequence[Path] = ()) -> Sources:
    """Read cut-outs and backgrounds.

    Args:
        cache: a folder of tools.nano's cut-outs; filled first if it is empty, which takes four minutes.
        part: "learned", which the selector is trained on; "held out", every HELD_OUT_STEP-th of each kind and
            those of tests/data; or "all".
        pairs: folders with im/ and gt/, whose subjects replace the cache's.
    """
    if not (cache / "index.json").exists():
        pack(cache, read_photographs())
    pictures = Pictures(cache)
    named = {}
    for kind, rows in pictures.kinds.items():
        some = {"all": rows, "held out": rows[::HELD_OUT_STEP],
                "learned": [i for n, i in enumerate(rows) if n % HELD_OUT_STEP]}[part]
        named[kind] = [(pictures.rows[i]["name"], np.asarray(pictures[i])) for i in some]
    if pairs:
        cutouts = [Cutout(path.stem, folder.name, pixels) for folder in pairs
                   for path, pixels in read_pairs(folder)]
    else:
        cutouts = [Cutout(name, kind, pixels) for kind in ("animal", "thing", "human")
                   for name, pixels in named.get(kind, ())]
    if not pairs and part != "learned":
        cutouts += [Cutout(name, name, cut(DATA / f"{name}.jpg", DATA / f"{name}_mask.png"))
                    for name in KNOWN]
    rendered = [Cutout(name, kind, pixels) for kind in ("model", "person") if part == "learned"
                for name, pixels in named.get(kind, ())]
    return Sources(cutouts, *([pixels for kind in kinds for _, pixels in named.get(kind, ())]
                              for kinds in (("empty", "place"), ("scene", "portrait"))), rendered)


def read_pairs(folder: Path) -> list[tuple[Path, np.ndarray]]:
    """Return (file, cut-out) for each picture in a folder with im/ and gt/."""
    found = [(path, cut(path, folder / "gt" / f"{path.stem}.png"))
             for path in sorted((folder / "im").iterdir())]
    return [(path, pixels) for path, pixels in found if pixels is not None]


def cut(photograph: Path, matte: Path) -> np.ndarray | None:
    """Crop a photograph to its subject: uint8 RGBA; None if the matte is empty."""
    with Image.open(photograph) as image, Image.open(matte) as alpha:
        rgba = image.convert("RGB")
        rgba.putalpha(alpha.convert("L").resize(rgba.size))
    return crop_to_subject(np.asarray(rgba), CUTOUT_SIDE)


# --- scenes -------------------------------------------------------------------------------------------------


def compose(sources: Sources, rng: Rng, sides: tuple[int, int] = SIDES, overlapping_share: float = OVERLAPPING
            ) -> Scene:
    """Compose two or three subjects on a background: apart or overlapping, of one kind or several.

    Args:
        sources: cut-outs and backgrounds.
        rng: source of all randomness.
        sides: range of the picture's longer side, in pixels.
        overlapping_share: share of the pictures in which subjects overlap.
    """
    count = 2 if rng.random() < 0.6 else 3
    overlapping, alike = rng.random() < overlapping_share, rng.random() < ALIKE
    while True:
        background = make_background(sources, rng, sides)
        shape = background.shape[:2]
        chosen = [maybe_mirror(cutout, rng) for cutout in draw_cutouts(sources, rng, count, alike)]
        for _ in range(20):
            places = [draw_place(cutout, shape, rng) for cutout in chosen]
            alphas = [put(cutout.pixels[..., 3:] / np.float32(255), shape, *place)[..., 0]
                      for cutout, place in zip(chosen, places)]
            seen, areas = visible(alphas), [float(alpha.sum()) for alpha in alphas]
            hidden = [1 - float(part.sum()) / area for part, area in zip(seen, areas)]
            if max(hidden) <= 1 - LEAST_SEEN and (max(hidden) > MOST_APART) == overlapping and (
                    overlapping or apart(seen)):
                image = background
                for cutout, place, alpha in zip(chosen, places, alphas):
                    image = lay(image, put_colours(vary(cutout, rng), shape, *place), alpha)
                return Scene(finish(image, rng), seen, overlapping, alike)


def draw_cutouts(sources: Sources, rng: Rng, count: int, alike: bool) -> list[Cutout]:
    """Draw `count` random cut-outs; if `alike`, of one kind, or one cut-out several times."""
    cutouts = sources.cutouts
    first = cutouts[rng.integers(len(cutouts))]
    if sources.rendered and rng.random() < RENDERED:
        first, cutouts = sources.rendered[rng.integers(len(sources.rendered))], cutouts + sources.rendered
    same = [cutout for cutout in cutouts if cutout.kind == first.kind]
    if alike and (len(same) < count or rng.random() < DOUBLES):
        return [first] * count
    others = same if alike else cutouts
    return [first, *(others[i] for i in rng.choice(len(others), count - 1, replace=False))]


def make_background(sources: Sources, rng: Rng, sides: tuple[int, int]) -> np.ndarray:
    """Draw a random background, blurred as if out of focus: float32 [H,W,3] in 0..1."""
    pixels = sources.places[rng.integers(len(sources.places))]
    longer, ratio = int(rng.integers(*sides)), rng.uniform(0.65, 1.0)
    width, height = (longer, int(longer * ratio)) if rng.random() < 0.75 else (int(longer * ratio), longer)
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    image = Image.fromarray(pixels).resize((int(np.ceil(pixels.shape[1] * scale)),
                                            int(np.ceil(pixels.shape[0] * scale))),
                                           Image.Resampling.BICUBIC).crop((0, 0, width, height))
    blurred = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.004, 0.02) * longer)))
    return np.asarray(blurred, np.float32) / 255


def maybe_mirror(cutout: Cutout, rng: Rng) -> Cutout:
    """Mirror a cut-out with probability 1/2."""
    return replace(cutout, pixels=cutout.pixels[:, ::-1]) if rng.random() < 0.5 else cutout


def vary(cutout: Cutout, rng: Rng) -> np.ndarray:
    """Return the cut-out with random brightness and colour balance, float32 RGBA in 0..1."""
    light = rng.uniform(0.75, 1.2) * rng.uniform(0.94, 1.06, 3) / 255
    colours = (cutout.pixels[..., :3] * light.astype(np.float32)).clip(0, 1)
    return np.dstack([colours, cutout.pixels[..., 3] / np.float32(255)])


def draw_place(cutout: Cutout, shape: tuple[int, int], rng: Rng) -> tuple[float, float, float]:
    """Draw a random (scale, x, y of the centre) for a cut-out: at most a tenth of each side lies outside."""
    height, width = cutout.pixels.shape[:2]
    scale = rng.uniform(*HEIGHTS) * min(shape) / np.sqrt(height * width)
    scale = min(scale, 0.9 * shape[0] / height, 0.9 * shape[1] / width)
    x, y = (rng.uniform(0.4 * scale * side, room - 0.4 * scale * side) for side, room in ((width, shape[1]),
                                                                                         (height, shape[0])))
    return scale, x, y


def put(pixels: np.ndarray, shape: tuple[int, int], scale: float, x: float, y: float) -> np.ndarray:
    """Scale pixels and place them in an empty picture, antialiased.

    Args:
        pixels: float32 [h,w,C] in 0..1.
        shape: the picture's (H, W).
        scale: factor of their size.
        x, y: position of their centre, in pixels of the picture.

    Returns:
        float32 [H,W,C] in 0..1.
    """
    canvas = np.zeros((*shape, pixels.shape[2]), np.float32)
    edges = []  # for each axis: first and last pixel in the picture, and their positions in `pixels`
    for side, room, middle in zip(pixels.shape[:2], shape, (y, x)):
        first, last = (int(np.floor(middle - scale * side / 2)), int(np.ceil(middle + scale * side / 2)))
        first, last = max(0, first), min(room, last)
        if first >= last:
            return canvas
        edges.append((first, last, *((at - middle) / scale + side / 2 for at in (first, last))))
    (top, bottom, y0, y1), (left, right, x0, x1) = edges
    margin = int(np.ceil(1 / scale)) + 1  # an edge pixel reaches beyond the cut-out
    padded = np.pad(pixels, ((margin,) * 2, (margin,) * 2, (0, 0)))
    for c in range(pixels.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(padded[..., c]))
        canvas[top:bottom, left:right, c] = plane.resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR,
            (x0 + margin, y0 + margin, x1 + margin, y1 + margin))
    return canvas.clip(0, 1)


def put_colours(pixels: np.ndarray, shape: tuple[int, int], scale: float, x: float, y: float) -> np.ndarray:
    """`put` the colours of float32 RGBA, multiplied by alpha: float32 [H,W,3]."""
    return put(pixels[..., :3] * pixels[..., 3:], shape, scale, x, y)


def visible(alphas: list[np.ndarray]) -> list[np.ndarray]:
    """Return the visible part of each layer's alpha; later layers are in front."""
    free, seen = np.ones_like(alphas[0]), []
    for alpha in reversed(alphas):
        seen.append(alpha * free)
        free = free * (1 - alpha)
    return seen[::-1]


def apart(alphas: list[np.ndarray]) -> bool:
    """Return whether no two subjects touch."""
    grown = sum(ndimage.binary_dilation(alpha > 0.05, iterations=4).astype(int) for alpha in alphas)
    return grown.max() < 2


def lay(image: np.ndarray, colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite premultiplied colours over an image."""
    return image * (1 - alpha[..., None]) + colours


def finish(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Add a camera's noise and convert to uint8."""
    noisy = image + rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.002, 0.012))
    return (noisy.clip(0, 1) * 255 + 0.5).astype(np.uint8)
