"""What lies behind the subject: a colour, a picture, or the photograph's own background, blurred."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..inference import resample
from .colour import to_linear, to_srgb
from .resample import Size, blur, planar, reduced

UNSURE = 0.01  # share of free pixels around at which a wider blur counts as much


def plain(colour: Tensor, size: Size) -> Tensor:
    """One colour [3] everywhere: [1,*size,3]."""
    return colour.expand(1, *size, 3)


def softened(image: Tensor, sigma: float, linear_light: bool = False) -> Tensor:
    """Image [B,H,W,3] out of focus, by `sigma` pixels; in linear light bright spots keep their brightness."""
    if linear_light:
        return to_srgb(blur(to_linear(image), sigma))
    return blur(image, sigma)


def without_subject(image: Tensor, alpha: Tensor, sigma: float, linear_light: bool = False) -> Tensor:
    """The background of image [B,H,W,3] by itself, blurred by at least `sigma` pixels.

    A pixel counts as far as alpha [B,H,W] leaves it free: no glow of the subject's colours surrounds it. What the
    subject hides is filled from around it, with ever wider blurs where narrow ones find nothing.
    """
    free = 1 - alpha[..., None]
    colours = planar(to_linear(image) if linear_light else image)
    weighted, sigma = reduced(torch.cat([colours * free, free], dim=-1), max(sigma, 1))
    result = colours.mean((1, 2), keepdim=True)
    for doubling in reversed(range(math.ceil(math.log2(max(weighted.shape[1:3]) / sigma)) + 1)):
        found = blur(weighted, sigma * 2**doubling)
        result = (found[..., :3] + UNSURE * result) / (found[..., 3:] + UNSURE)
    result = resample(result.movedim(-1, 1), tuple(image.shape[1:3])).movedim(1, -1)
    return (to_srgb(result) if linear_light else result).clamp(0, 1)
