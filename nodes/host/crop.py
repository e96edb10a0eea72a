"""The socket type from Inpaint Crop and Frame Subject to Inpaint Paste."""

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
        images: the pictures [1 or B,H,W,C] in 0..1.
        regions: how much of each pixel is repainted, [B,H,W] in 0..1.
        windows: position of each crop in its picture.
    """

    images: Tensor
    regions: Tensor
    windows: list[inpaint.Window | inpaint.FractionalWindow]
