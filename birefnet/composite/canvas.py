"""The canvas: a picture brought to its size, and where on it the subject goes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..imaging.resample import Box, Size, coverage, part

FITS = ("fill", "fit", "stretch", "tile")
POSITIONS = ("in place", "top left", "centre", "bottom")


def fitted(image: Tensor, size: Size, fit: str, colour: Tensor) -> Tensor:
    """Image [B,H,W,C] in 0..1, C 1 (grey), 3 or 4, on a canvas of `size`: [B,*size,3].

    fill: covers the canvas, what is too much is cut off at both sides alike. fit: all of it, as large as the canvas
    allows, in its middle. stretch: height and width are scaled to the canvas's. tile: at its own size, repeated from
    the top left. `colour` [3] lies under what stays open and what is transparent.
    """
    if fit not in FITS:
        raise ValueError(f"expected a fit of {', '.join(FITS)}, got {fit!r}")
    height, width = image.shape[1:3]
    colour = colour.to(image)
    if image.shape[-1] == 1:
        image = image.expand(-1, -1, -1, 3)
    elif image.shape[-1] == 4:
        image = torch.lerp(colour, image[..., :3], image[..., 3:])
    if fit == "tile":
        rows, columns = (torch.arange(n, device=image.device) for n in size)
        return image[:, rows % height][:, :, columns % width]
    if fit == "stretch":
        return part(image, (0, 0, height, width), size).clamp(0, 1)
    zoom = (max if fit == "fill" else min)(size[0] / height, size[1] / width)
    box = _around((height / 2, width / 2), (size[0] / zoom, size[1] / zoom), whole=zoom == 1)
    image = part(image, box, size).clamp(0, 1)
    if fit == "fill":
        return image
    return torch.lerp(colour, image, coverage((height, width), box, size)[..., None].to(image))


def _around(centre: tuple[float, float], size: tuple[float, float], whole: bool) -> Box:
    """The box of that size about a centre; `whole`: its corners on whole pixels, so that nothing is resampled."""
    top, left = (middle - side / 2 for middle, side in zip(centre, size))
    if whole:
        top, left = round(top), round(left)
    return top, left, top + size[0], left + size[1]


class Placement(NamedTuple):
    """Where a picture lies on a canvas: its top left corner, and canvas pixels per picture pixel."""

    top: float
    left: float
    scale: float

    def seen(self, canvas: Size) -> Box:
        """The part of the picture that the canvas shows, in the picture's pixels; may reach beyond the picture."""
        top, left = -self.top / self.scale, -self.left / self.scale
        return top, left, top + canvas[0] / self.scale, left + canvas[1] / self.scale


def placed(
    position: str, picture: Size, canvas: Size, box: Box, scale: float = 1.0, x: float = 0.0, y: float = 0.0
) -> Placement:
    """Where a picture goes whose subject fills `box`, in the picture's pixels.

    in place: the picture as large as the canvas allows, in its middle; `scale` enlarges the subject about its centre.
    top left: pixel for pixel, corner to corner. centre, bottom: the subject as large as the canvas allows, in its
    middle or standing on its lower edge. `scale` multiplies that size; x, y then move right and down by canvas pixels.
    """
    top, left, bottom, right = box
    if position == "top left":
        return Placement(y, x, scale)
    if position == "in place":
        size = picture
        zoom = min(canvas[0] / size[0], canvas[1] / size[1])
        corner = [round((whole - side * zoom) / 2) for whole, side in zip(canvas, size)]
        middle = (top + bottom) / 2, (left + right) / 2
        return Placement(*(at + c * zoom * (1 - scale) + move for at, c, move in zip(corner, middle, (y, x))),
                         zoom * scale)
    if position not in POSITIONS:
        raise ValueError(f"expected a position of {', '.join(POSITIONS)}, got {position!r}")
    scale *= min(canvas[0] / max(bottom - top, 1), canvas[1] / max(right - left, 1))
    down = canvas[0] - bottom * scale if position == "bottom" else (canvas[0] - (top + bottom) * scale) / 2
    return Placement(down + y, (canvas[1] - (left + right) * scale) / 2 + x, scale)
