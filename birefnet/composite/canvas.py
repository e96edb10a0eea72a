"""The canvas: pictures resized to fill it, and where the subject is placed on it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..imaging.transform import Rectangle, Size, coverage, resample_box

ROUNDING = 1e-6  # pixels: rounding errors of sides that are whole in exact arithmetic
FITS = ("fill", "fit", "stretch", "tile")
POSITIONS = ("in place", "top left", "centre", "bottom")


def fit_to_canvas(image: Tensor, size: Size, fit: str, colour: Tensor) -> Tensor:
    """Fill a canvas with an image.

    Args:
        image: float [B,H,W,C] in 0..1, C 1 (grey), 3 or 4.
        size: height and width of the canvas in pixels.
        fit: "fill" covers the canvas and crops both sides equally; "fit" shows all of the image, as large as
            the canvas allows, in the middle; "stretch" scales height and width to the canvas; "tile" repeats
            the image at its own size from the top left.
        colour: float [3] in 0..1, fills what stays empty and what is transparent.

    Returns:
        float [B,*size,3] in 0..1.

    Raises:
        ValueError: there is no such fit.
    """
    if fit not in FITS:
        raise ValueError(f"Choose a fit of {', '.join(FITS)}: it is {fit!r}")
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
        return resample_box(image, (0, 0, height, width), size).clamp(0, 1)
    zoom = (max if fit == "fill" else min)(size[0] / height, size[1] / width)
    box = _around((height / 2, width / 2), (size[0] / zoom, size[1] / zoom), rounded=zoom == 1)
    image = resample_box(image, box, size).clamp(0, 1)
    if fit == "fill":
        return image
    return torch.lerp(colour, image, coverage((height, width), box, size)[..., None].to(image))


def _around(centre: tuple[float, float], size: tuple[float, float], rounded: bool) -> Rectangle:
    """Return a rectangle around a centre; `rounded` rounds its corner, so that nothing is resampled."""
    top, left = (middle - side / 2 for middle, side in zip(centre, size))
    if rounded:
        top, left = round(top), round(left)
    return top, left, top + size[0], left + size[1]


class Placement(NamedTuple):
    """Where a picture lies on a canvas: its top left corner in canvas pixels, and canvas pixels per picture
    pixel; then a clockwise rotation in degrees around `pivot` (row, column), in canvas pixels."""

    top: float
    left: float
    scale: float
    rotation: float = 0.0
    pivot: tuple[float, float] = (0.0, 0.0)

    def visible_box(self, canvas: Size) -> Rectangle:
        """Return the part of the picture that the canvas shows, without rotation, in the picture's pixels.

        It may reach beyond the picture.
        """
        top, left = -self.top / self.scale, -self.left / self.scale
        return top, left, top + canvas[0] / self.scale, left + canvas[1] / self.scale


def place_subject(
    position: str,
    picture: Size,
    canvas: Size,
    box: Rectangle,
    scale: float = 1.0,
    x: float = 0.0,
    y: float = 0.0,
    rotation: float = 0.0,
) -> Placement:
    """Place a picture on a canvas by its subject.

    Args:
        position: "in place": the picture as large as the canvas allows, in the middle, and `scale` enlarges
            the subject around its centre; "top left": pixel for pixel, corner to corner; "centre" and
            "bottom": the subject as large as the canvas allows, in the middle or standing on the lower edge.
        picture, canvas: heights and widths in pixels.
        box: the subject's box in the picture's pixels.
        scale: factor on the size that `position` gives.
        x, y: canvas pixels to move right and down.
        rotation: degrees by which the placed subject is turned clockwise around its box's centre.

    Returns:
        The placement.

    Raises:
        ValueError: there is no such position.
    """
    top, left, bottom, right = box
    if rotation:
        where = place_subject(position, picture, canvas, box, scale, x, y)
        centre = where.top + where.scale * (top + bottom) / 2, where.left + where.scale * (left + right) / 2
        return where._replace(rotation=rotation, pivot=centre)
    if position == "top left":
        return Placement(y, x, scale)
    if position == "in place":
        zoom = min(canvas[0] / picture[0], canvas[1] / picture[1])
        corner = [round((length - side * zoom) / 2) for length, side in zip(canvas, picture)]
        middle = (top + bottom) / 2, (left + right) / 2
        return Placement(*(at + c * zoom * (1 - scale) + move for at, c, move in zip(corner, middle, (y, x))),
                         zoom * scale)
    if position not in POSITIONS:
        raise ValueError(f"Choose a position of {', '.join(POSITIONS)}: it is {position!r}")
    scale *= min(canvas[0] / max(bottom - top, 1), canvas[1] / max(right - left, 1))
    down = canvas[0] - bottom * scale if position == "bottom" else (canvas[0] - (top + bottom) * scale) / 2
    return Placement(down + y, (canvas[1] - (left + right) * scale) / 2 + x, scale)
