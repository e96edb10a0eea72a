"""Read masks, trimaps and saved mattes: upright, in 0..1.

Evaluation compares with the levels that a file holds, in its own precision: `read_grey`, `read_matte`.
Training reads a mask as it reads its picture, in 8 bits, to which it rounds its samples anyway: `read_mask`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..imaging import pictures
from ..imaging.pictures import PictureError, open_picture

if TYPE_CHECKING:  # not imported by the evaluation's worker processes, which read grey levels alone
    from torch import Tensor

LOWEST, HIGHEST = -0.5, 1.5  # floats beyond these are not a mask in 0..1, even with a resampling's overshoot


def read_grey(path: Path) -> np.ndarray:
    """Read a mask or trimap file; colours become grey.

    Returns:
        float64 [H,W] in 0..1.

    Raises:
        PictureError: the file cannot be read, or has transparency (its mask could be alpha or colours).
    """
    with open_picture(path) as picture:
        if _alpha(picture):
            raise PictureError(f"{path}: expected grey levels, got transparency; save its alpha channel as a "
                               "grey picture")
        return _levels(picture, path)


def read_matte(path: Path) -> np.ndarray:
    """Read a saved matte as `read_grey` does, but of a file with transparency (a cut-out) the alpha."""
    with open_picture(path) as picture:
        return _levels(_alpha(picture) or picture, path)


def _alpha(picture: Image.Image) -> Image.Image | None:
    """The alpha channel; None without one, or if every pixel is opaque."""
    if not picture.has_transparency_data:
        return None
    alpha = picture.convert("RGBA").getchannel("A")
    return alpha if alpha.getextrema()[0] < 255 else None


def _levels(picture: Image.Image, path: Path) -> np.ndarray:
    """Grey levels float64 [H,W] in 0..1 of an opened picture. Raises PictureError for floats beyond 0..1."""
    if picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, np.float64))
        if values.min() < LOWEST or values.max() > HIGHEST:
            raise PictureError(f"{path}: expected floats in 0..1, got {values.min():g} to {values.max():g}")
        return values.clip(0, 1)
    if picture.mode.startswith("I"):
        return (np.asarray(picture, np.float64) / 65535).clip(0, 1)
    return np.asarray(picture.convert("L"), np.float64) / 255


def read_mask(path: Path) -> Tensor:
    """Read a mask file for training, as `pictures.read` reads pictures: deeper levels are scaled to 8 bits,
    and an embedded profile is applied.

    Colours are averaged and alpha is ignored, rather than refused: `check` sorts out masks with either before
    a run, but for traces of colour, as JPEG leaves them, and alpha that is opaque everywhere.

    Returns:
        float32 [1,H,W] in 0..1.

    Raises:
        PictureError: the file cannot be read.
    """
    return pictures.read(path)[..., :3].mean(-1)
