"""What lies behind the subject: a colour, a picture, or the photograph's own background, blurred."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.colour import to_linear, to_srgb
from ..imaging.resize import resample
from ..imaging.transform import Size, blur, shrink_for_blur, to_planar
from .canvas import fit_to_canvas

BACKGROUNDS = ("colour", "image", "blurred image", "blurred original", "transparent")
UNSURE_SHARE = 0.01  # local share of background at which the next wider blur has an equal weight


@dataclass(frozen=True)
class Background:
    """How to make the background of each picture.

    Args:
        kind: one of BACKGROUNDS: a colour; another picture, sharp or blurred; the picture's own background,
            blurred without the subject; or nothing.
        colour: float [3] in 0..1, also where a picture does not cover the canvas or is transparent.
        fit: how pictures fill the canvas, see `fit_to_canvas`.
        blur: standard deviation of the Gaussian, as a share of the longer side of what is blurred.
        linear_light: blur light instead of stored values.

    Raises:
        ValueError: there is no such kind.
    """

    kind: str
    colour: Tensor
    fit: str
    blur: float
    linear_light: bool

    def __post_init__(self) -> None:
        if self.kind not in BACKGROUNDS:
            raise ValueError(f"Choose a background of {', '.join(BACKGROUNDS)}: it is {self.kind!r}")

    def render(
        self, image: Tensor, alpha: Tensor, canvas: Size, other: Tensor | None = None
    ) -> Tensor | None:
        """Make the background of one picture.

        Args:
            image: float [1,H,W,3] in 0..1, the picture with the subject.
            alpha: float [1,H,W] in 0..1, 1 = subject.
            canvas: height and width of the result in pixels.
            other: float [1,h,w,C] in 0..1, C 1, 3 or 4: the picture for kinds "image" and "blurred image".

        Returns:
            float [1,*canvas,3] in 0..1 on the image's device; None for "transparent".

        Raises:
            ValueError: the kind needs another picture.
            PackageError: kornia is missing, for linear light.
        """
        if self.kind == "transparent":
            return None
        colour = self.colour.to(image)
        if self.kind == "colour":
            return colour.expand(1, *canvas, 3)
        if self.kind == "blurred original":
            own = remove_subject(image, alpha, self.blur * max(image.shape[1:3]), self.linear_light)
            return fit_to_canvas(own, canvas, self.fit, colour)
        if other is None:
            raise ValueError("Give another picture, or choose another background: the background "
                             f"{self.kind!r} needs one")
        behind = fit_to_canvas(other.to(image), canvas, self.fit, colour)
        if self.kind == "image":
            return behind
        return defocus(behind, self.blur * max(canvas), self.linear_light)


def defocus(image: Tensor, sigma: float, linear_light: bool = False) -> Tensor:
    """Blur an image [B,H,W,3] in 0..1 by `sigma` pixels; in linear light bright spots stay bright."""
    if linear_light:
        return to_srgb(blur(to_linear(image), sigma))
    return blur(image, sigma)


def remove_subject(image: Tensor, alpha: Tensor, sigma: float, linear_light: bool = False) -> Tensor:
    """Blur the background of an image without its subject.

    Each pixel is weighted with 1 - alpha, so that the subject's colours do not glow around it. What the
    subject hides is filled from around it, by wider and wider blurs where narrower ones find no background.

    Args:
        image: float [B,H,W,3] in 0..1.
        alpha: float [B,H,W] in 0..1, 1 = subject.
        sigma: standard deviation in pixels; smaller values than 1 count as 1.
        linear_light: blur light instead of stored values.

    Returns:
        float [B,H,W,3] in 0..1.

    Raises:
        PackageError: kornia is missing, for linear light.
    """
    free = 1 - alpha[..., None]
    colours = to_planar(to_linear(image) if linear_light else image)
    weighted, sigma = shrink_for_blur(torch.cat([colours * free, free], dim=-1), max(sigma, 1))
    result = colours.mean((1, 2), keepdim=True)
    for doubling in reversed(range(math.ceil(math.log2(max(weighted.shape[1:3]) / sigma)) + 1)):
        found = blur(weighted, sigma * 2**doubling)
        result = (found[..., :3] + UNSURE_SHARE * result) / (found[..., 3:] + UNSURE_SHARE)
    result = resample(result.movedim(-1, 1), tuple(image.shape[1:3])).movedim(1, -1)
    return (to_srgb(result) if linear_light else result).clamp(0, 1)
