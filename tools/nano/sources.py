"""Where training pictures come from: packages installed by name, whose licences `weights/NANO.md` lists.

`installed` collects them for the cache. Nothing here knows how composites are made.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from . import albums, models, photographs
from .panoramas import environment

STAMPS = Path("/usr/share/tuxpaint/stamps")          # Debian tuxpaint-stamps-default
CLIPART = Path("/usr/share/openclipart/png")         # Debian openclipart-png
WALLPAPERS = Path("/usr/share/wallpapers")           # Debian plasma-workspace-wallpapers
BACKGROUNDS = Path("/usr/share/backgrounds")         # Debian lomiri-wallpapers-16.04, mate-backgrounds
ENVIRONMENTS = Path("node_modules/@pmndrs/assets/hdri")  # npm @pmndrs/assets, in the working folder

DRAWN = re.compile(r"/(cartoon|symbols|roadsigns|flags|money|hanukkah|newyears|easter)/|_mirror|/t_[a-z]+\.png|grave-|"
                   r"inukshuk-out|candy_cane|stocking|snowflake|blackcat|bat_left|ghost|lamp|/star|/tree\.png|button|"
                   r"fedora|feathered|propeller|sombrero|hedgehog|pizza|tooth|/eye\.|Santa|skull|spider|bow\.png|goal")
CLIPART_FOLDERS = ("animals", "people", "plants", "food", "transportation", "tools", "containers")
# Photographs without a subject of their own, then patterns and drawings, which are drawn less often.
PHOTOGRAPHS = ("mate/nature/Aqua.jpg", "mate/nature/Blinds.jpg", "mate/nature/Dune.jpg",
               "mate/nature/GreenMeadow.jpg", "mate/nature/RainDrops.jpg", "mate/nature/Storm.jpg",
               "mate/nature/Wood.jpg", "Bridge_by_Sander_Klootwijk.jpg", "Dragonfly_by_Bolly.jpg",
               "aitzgorri_by_Aitzol_Berasategi.jpg", "life_by_Aitzol_Berasategi.jpg",
               "picosdeeuropa_by_Aitzol_Berasategi.jpg", "sunset_by_Aitzol_Berasategi.jpg",
               "umang_by_Abhishek_Mudgal.jpg", "Picture_1A_by_freespace.jpg", "Autumn", "BytheWater", "ColdRipple",
               "DarkestHour", "EveningGlow", "FallenLeaf", "Grey", "Path", "summer_1am", "Canopee", "Volna",
               "ColorfulCups", "Kite")
PATTERNS = ("analogpattern_by_Peter_Nerlich.jpg", "mate/abstract/Elephants.jpg",
            "Altai", "Elarun", "Honeywave", "IceCold", "Kokkini", "Opal", "PastelHills", "Shell", "Flow", "Cluster")


def installed(rendered: int, seed: int, environments: Path = ENVIRONMENTS) -> Iterator[tuple[str, str, np.ndarray]]:
    """Every usable picture of the installed packages, then so many rendered ones. Missing packages are an error."""
    for path in (STAMPS, CLIPART, WALLPAPERS, BACKGROUNDS, photographs.RESOURCES, models.FURNITURE, environments):
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is not there; weights/NANO.md lists the packages to install")
    if rendered and not importlib.util.find_spec("bpy"):
        raise ModuleNotFoundError("rendering needs Blender for Python 3.11: pip install --no-deps bpy==4.5.15, or "
                                  "--renders 0 for none")
    for path in sorted(STAMPS.rglob("*.png")):
        if not DRAWN.search(str(path)):
            pixels = cutout(path, 352)
            if pixels is not None:
                yield ("animal" if "animals" in path.parts else "thing"), path.name, pixels
    for name in CLIPART_FOLDERS:
        for path in sorted((CLIPART / name).rglob("*.png")):
            pixels = cutout(path, 256) if path.stat().st_size < 100_000 else None  # some are 600 megapixels
            if pixels is not None:
                yield "shape", path.name, pixels
    grounds = []
    for kind, names in (("photograph", PHOTOGRAPHS), ("pattern", PATTERNS)):
        for name in names:
            path = BACKGROUNDS / name
            if not path.is_file():
                path = max((WALLPAPERS / name / "contents/images").glob("*x*.*"), key=lambda p: p.stat().st_size)
            grounds.append(photograph(path, 900))
            yield kind, name, grounds[-1]
    for path in sorted(environments.glob("*.exr.js")):
        yield "environment", path.name, environment(path)
    for name, pixels in photographs.scenes():
        yield "scene", name, pixels
        kind = "thing" if name.startswith("categorization") and "fishes" not in name else "animal"
        yield kind, name, models.trimmed(pixels, 352)
    for name, pixels in photographs.backgrounds(600):
        grounds.append(pixels)
        yield "place", name, pixels
    yield from albums.pictures()
    yield from models.views(seed, 256)
    if rendered:
        from .renders import renders

        yield from renders(rendered, seed, grounds, environments)


def cutout(path: Path, longest: int) -> np.ndarray | None:
    """RGBA cropped to what is visible, or None where the alpha is no cut-out (none at all, a frame, a thin outline)."""
    try:
        image = Image.open(path).convert("RGBA")
    except OSError:
        return None
    box = image.getchannel("A").point(lambda a: 255 * (a > 8)).getbbox()
    if not box:
        return None
    image = image.crop(box)
    image.thumbnail((longest, longest), Image.LANCZOS)
    pixels = np.asarray(image)
    solid = pixels[..., 3] > 128
    frame = np.concatenate([solid[0], solid[-1], solid[:, 0], solid[:, -1]])
    if min(solid.shape) < 24 or not 0.12 < solid.mean() < 0.9 or frame.mean() > 0.6:
        return None
    core = solid[3:-3, 3:-3] & solid[6:, 3:-3] & solid[:-6, 3:-3] & solid[3:-3, 6:] & solid[3:-3, :-6]
    return pixels if core.sum() > 0.35 * solid.sum() else None


def photograph(path: Path, longest: int) -> np.ndarray:
    image = Image.open(path)
    image.draft("RGB", (longest, longest))
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, (90, 110, 130, 255))
    ground.alpha_composite(image)
    ground.thumbnail((longest, longest), Image.LANCZOS)
    return np.asarray(ground.convert("RGB"))
