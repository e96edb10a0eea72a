"""What lies behind the subject: a colour, a picture, or the photograph's own background, blurred."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.colour import to_linear, to_srgb
from ..imaging.resample import Size, blur, planar, reduced
from ..imaging.resize import resample
from .canvas import fitted

BACKGROUNDS = ("colour", "image", "blurred image", "blurred original", "transparent")
UNSURE = 0.01  # share of free pixels around at which a wider blur counts as much


@dataclass(frozen=True)
class Background:
    """What lies behind the subjects of a run.

    kind, one of BACKGROUNDS: a colour; another picture, sharp or blurred; the picture's own background, blurred without
    the subject; or nothing. colour: [3] in 0..1, also beside and beneath pictures. fit: how pictures meet the canvas, see
    `fitted`. blur: the Gaussian's standard deviation, as a share of the longer side of what is blurred. linear_light:
    blurs light, not stored values.
    """

    kind: str
    colour: Tensor
    fit: str
    blur: float
    linear_light: bool

    def __post_init__(self) -> None:
        if self.kind not in BACKGROUNDS:
            raise ValueError(f"expected a background of {', '.join(BACKGROUNDS)}, got {self.kind!r}")

    def behind(self, image: Tensor, alpha: Tensor, canvas: Size, other: Tensor | None = None) -> Tensor | None:
        """The background [1,*canvas,3] in 0..1 of one picture, on its device; None for "transparent".

        image [1,H,W,3] in 0..1 under alpha [1,H,W] (1 = subject): the picture with the subject. other: the picture
        [1,h,w,C] in 0..1, C 1, 3 or 4, that the kinds "image" and "blurred image" need; ValueError where they lack it.
        """
        if self.kind == "transparent":
            return None
        colour = self.colour.to(image)
        if self.kind == "colour":
            return colour.expand(1, *canvas, 3)
        if self.kind == "blurred original":
            own = without_subject(image, alpha, self.blur * max(image.shape[1:3]), self.linear_light)
            return fitted(own, canvas, self.fit, colour)
        if other is None:
            raise ValueError(f"the background {self.kind!r} needs another picture: give one, or take another background")
        behind = fitted(other.to(image), canvas, self.fit, colour)
        return softened(behind, self.blur * max(canvas), self.linear_light) if self.kind == "blurred image" else behind


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
