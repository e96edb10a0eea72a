"""Views of a matte that show what is right and wrong with it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..imaging.resize import resample
from ..masks import levels

SQUARE_SIDE = 12  # pixels: side of a checkerboard's square
LEAST_LABEL_HEIGHT = 22  # pixels


def make_views(image: Tensor, mask: Tensor, colour: Tensor, size: int = 0) -> Tensor:
    """Draw four labelled views of a matte, two by two.

    "overlay": a colour over the background. "cut-out": the subject over a checkerboard. "alpha": the mask.
    "edge band": where the mask is neither 0 nor 1, or jumps, over the picture in dim grey; at least one pixel
    wide in a small view, too.

    Args:
        image: float [1,H,W,3] in 0..1.
        mask: float [1,H,W] in 0..1, 1 = subject.
        colour: float [3] in 0..1.
        size: longer side of each view in pixels, 0 for the picture's own.

    Returns:
        float [1,h,w,3] in 0..1.
    """
    height, width = image.shape[1:3]
    zoom = size / max(height, width) if size else 1.0
    shape = max(round(height * zoom), 1), max(round(width * zoom), 1)
    band = _edge_band(mask[:, None])
    band = F.adaptive_max_pool2d(band, shape) if zoom < 1 else resample(band, shape)
    image, mask, band = (x.movedim(1, -1) for x in (resample(image.movedim(-1, 1), shape),
                                                    resample(mask[:, None], shape), band))
    grey, colour = image.mean(-1, keepdim=True).expand_as(image), colour.to(image)
    named = {
        "overlay": torch.lerp(torch.lerp(grey, colour, 0.6), image, mask),
        "cut-out": torch.lerp(checkerboard(*shape).to(image), image, mask),
        "alpha": mask.expand_as(image),
        "edge band": torch.lerp(0.35 * grey, colour, band),
    }
    a, b, c, d = (_add_label(view, name) for name, view in named.items())
    return torch.cat([torch.cat([a, b], dim=2), torch.cat([c, d], dim=2)], dim=1).clamp(0, 1)


def _edge_band(mask: Tensor) -> Tensor:
    """How much each pixel of mask [1,1,H,W] belongs to an edge, soft or hard, 0..1: alpha in between, or a
    step beside it."""
    mask = levels(mask[0], 0.02, 0.98)[None]  # near-certain is no edge
    step = F.max_pool2d(mask, 3, 1, 1) + F.max_pool2d(-mask, 3, 1, 1)
    return torch.maximum((4 * mask * (1 - mask)).sqrt(), step)


def checkerboard(height: int, width: int) -> Tensor:
    """Light grey and white squares, float32 [height,width,1]."""
    odd = (torch.arange(height)[:, None] // SQUARE_SIDE + torch.arange(width) // SQUARE_SIDE) % 2
    return (1 - 0.2 * odd)[..., None]


def label_height(width: int) -> int:
    """Height in pixels of the strip with a view's name: readable when four views of that width are shown
    small on a node."""
    return max(LEAST_LABEL_HEIGHT, width // 16)


def _add_label(view: Tensor, name: str) -> Tensor:
    """A view [1,H,W,3] below a strip with its name, in a dark frame one pixel wide."""
    height = label_height(view.shape[2])
    strip = Image.new("L", (view.shape[2], height), 24)
    font = ImageFont.load_default(round(0.65 * height))
    ImageDraw.Draw(strip).text((height // 4, height // 2), name, fill=255, font=font, anchor="lm")
    text = torch.from_numpy(np.array(strip, dtype=np.float32) / 255).to(view)
    text = text[None, ..., None].expand(1, -1, -1, 3)
    return F.pad(torch.cat([text, view], dim=1), (0, 0, 1, 1, 1, 1), value=24 / 255)
