"""Where training pictures come from: packages installed by name, whose licences weights/NANO.md lists."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from . import furniture, photographs
from .photographs import Entry

BACKGROUNDS = Path("/usr/share/backgrounds")             # Debian lomiri-wallpapers-16.04
PANORAMAS = Path("node_modules/@pmndrs/assets/hdri")     # npm @pmndrs/assets, in the working folder
LANDSCAPES = ("aitzgorri_by_Aitzol_Berasategi.jpg", "life_by_Aitzol_Berasategi.jpg",
              "picosdeeuropa_by_Aitzol_Berasategi.jpg", "sunset_by_Aitzol_Berasategi.jpg")
BACKGROUND_SIDE = 1000  # pixels: longer side as stored


def read_all(seed: int, panoramas: Path = PANORAMAS) -> Iterator[Entry]:
    """Every picture of the installed packages, as entries for the cache (see cache.Pictures).

    Raises:
        FileNotFoundError: where a package is missing.
    """
    for path in (BACKGROUNDS, photographs.RESOURCES, furniture.LIBRARIES, panoramas):
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is not there; weights/NANO.md lists the packages to install")
    for name in LANDSCAPES:
        with Image.open(BACKGROUNDS / name) as image:
            image.thumbnail((BACKGROUND_SIDE, BACKGROUND_SIDE), Image.Resampling.LANCZOS)
            yield "empty", name, np.asarray(image.convert("RGB"))
    for path in sorted(panoramas.glob("*.exr.js")):
        yield "panorama", path.name, read_panorama(path)
    yield from photographs.read_photographs()
    yield from furniture.render_all(seed)


def read_panorama(path: Path) -> np.ndarray:
    """A panorama (an EXR file inside a JavaScript module) without zenith and nadir, tone-mapped to uint8
    [h,w,3]."""
    import OpenEXR

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(base64.b64decode(re.search(r"base64,([^'\"]+)", path.read_text())[1]))
        file.flush()
        channels = OpenEXR.File(file.name).channels()
    light = next(iter(channels.values())).pixels[..., :3].astype(np.float64)
    light = np.nan_to_num(light / np.percentile(light, 80) * 0.6, posinf=1.0)
    rgb = np.clip(light, 0, 1) ** (1 / 2.2)
    rows = len(rgb)
    return (rgb[int(0.2 * rows):int(0.85 * rows)] * 255).astype(np.uint8)
