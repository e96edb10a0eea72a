"""Small copies of a node's result for the page, in the host's folder for temporary files."""

from __future__ import annotations

import base64
import io
import uuid
from pathlib import Path

import folder_paths
import numpy as np
from PIL import Image
from torch import Tensor

from ...birefnet.imaging.levels import to_levels
from . import messages

LONGEST_SIDE = 1024  # pixels
QUALITY = 85  # of JPEG
FOLDER = "biref"


def picture(image: Tensor) -> tuple[dict, ...]:
    """Save a small copy of a picture [1,H,W,C] in 0..1, C 3 or 4, as PNG, if a page waits for the result.

    Returns:
        The file's address for the page, with the picture's own `width` and `height` in pixels; () without a
        page.
    """
    if messages.listener() is None or not len(image):
        return ()
    height, width = image.shape[1:3]
    folder = Path(folder_paths.get_temp_directory(), FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{uuid.uuid4().hex}.png"
    to_pil(image).save(folder / name, compress_level=1)
    return ({"filename": name, "subfolder": FOLDER, "type": "temp", "width": width, "height": height},)


def inline(image: Tensor, longest_side: int) -> str:
    """Return a data URL (JPEG) of a picture [1,H,W,3] in 0..1, reduced to at most `longest_side` pixels."""
    file = io.BytesIO()
    to_pil(image, longest_side).save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def to_pil(image: Tensor, longest_side: int = LONGEST_SIDE) -> Image.Image:
    """Return a picture [1,H,W,C] in 0..1 with 8 bits, reduced to at most `longest_side` pixels."""
    levels = to_levels(image[0])
    shown = Image.fromarray(np.squeeze(levels, 2) if levels.shape[2] == 1 else levels)
    shown.thumbnail((longest_side, longest_side), Image.Resampling.BOX)
    return shown
