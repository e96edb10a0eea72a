"""What Inpaint Crop and Frame Subject hand to Inpaint Paste."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io
from torch import Tensor

from ...birefnet.composite import inpaint

CropSocket = io.Custom("BIREF_CROP")


@dataclass(frozen=True)
class Crop:
    """Where crops were cut from.

    Args:
        images: pictures [1 or B,H,W,C] in 0..1.
        regions: what is repainted in each picture, [B,H,W] in 0..1.
        windows: of each crop in its picture.
    """

    images: Tensor
    regions: Tensor
    windows: list[inpaint.Window]
