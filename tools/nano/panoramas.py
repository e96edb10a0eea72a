"""Panoramas of npm @pmndrs/assets: EXR files inside JavaScript modules, backgrounds and light of the training pictures."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path

import numpy as np


def exr(module: Path) -> bytes:
    """The EXR file within a JavaScript module of @pmndrs/assets."""
    return base64.b64decode(re.search(r"base64,([^'\"]+)", module.read_text())[1])


def environment(path: Path) -> np.ndarray:
    """A panorama (EXR inside a JavaScript module) tone-mapped to 8 bits, without its zenith and nadir."""
    import OpenEXR

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(exr(path))
        file.flush()
        channels = OpenEXR.File(file.name).channels()
    light = next(iter(channels.values())).pixels[..., :3].astype(np.float64)
    light = np.nan_to_num(light / np.percentile(light, 80) * 0.6, posinf=1.0)
    rgb = np.clip(light, 0, 1) ** (1 / 2.2)
    rows = len(rgb)
    return (rgb[int(0.2 * rows):int(0.85 * rows)] * 255).astype(np.uint8)
