"""CSS colours, and the conversion between sRGB values and linear light."""

from __future__ import annotations

import colorsys
import math
import re
from typing import TYPE_CHECKING

from PIL import ImageColor

from ..files.errors import UserError
from ..files.packages import require

if TYPE_CHECKING:  # as in `pictures`
    from torch import Tensor

FUNCTION = re.compile(r"(rgb|hsl)a?\(([^()]*)\)")  # its name, and what is in its parentheses


def parse_colour(text: str) -> tuple[float, float, float, float]:
    """Read a CSS colour.

    Args:
        text: a name, #rgb, #rrggbb (with opacity #rgba, #rrggbbaa), or rgb(…) or hsl(…), in the notation with
            commas or the newer one without.

    Returns:
        Red, green, blue and opacity, each in 0..1.

    Raises:
        UserError: the text is no such colour.
    """
    wanted = text.strip().lower()
    if wanted == "transparent":
        return 0.0, 0.0, 0.0, 0.0
    try:
        found = FUNCTION.fullmatch(wanted)
        values = _parse_function(*found.groups()) if found else [v / 255 for v in ImageColor.getrgb(wanted)]
    except ValueError:
        raise UserError("Write the colour as in CSS (white, #20a0ff, rgb(32 160 255), hsl(206 100% 56%)): "
                        f"expected a colour, got {text!r}") from None
    red, green, blue, opacity = (min(max(v, 0.0), 1.0) for v in (*values, 1.0)[:4])
    return red, green, blue, opacity


def opaque_colour(text: str, advice: str) -> Tensor:
    """Read a CSS colour that must be opaque.

    Args:
        text: as for `parse_colour`.
        advice: the end of the error's sentence: what to do for transparency.

    Returns:
        float32 [3] in 0..1.

    Raises:
        UserError: the text is no colour, or one with an opacity below 1.
    """
    import torch

    *colour, opacity = parse_colour(text)
    if opacity < 1:
        raise UserError(f"Choose an opaque colour, not {text!r}: {advice}")
    return torch.tensor(colour)


def _parse_function(name: str, inside: str) -> list[float]:
    """Compute the values in 0..1 of rgb(…) or hsl(…), from its name and what is in its parentheses."""
    words = [word for word in re.split(r"[\s,/]+", inside) if word]
    if len(words) not in (3, 4):
        raise ValueError(inside)
    opacity = [_parse_number(words[3])] if len(words) == 4 else []
    if name == "rgb":
        return [_parse_number(word, full=255) for word in words[:3]] + opacity
    hue = _parse_number(words[0].removesuffix("deg"), full=360)
    saturation, lightness = (_parse_number(word, full=100) for word in words[1:3])
    red, green, blue = colorsys.hls_to_rgb(hue % 1, min(max(lightness, 0), 1), min(max(saturation, 0), 1))
    return [red, green, blue, *opacity]


def _parse_number(word: str, full: float = 1) -> float:
    """Parse a percentage as a share of 1, any other number as a share of `full`."""
    number = float(word[:-1]) / 100 if word.endswith("%") else float(word) / full
    if not math.isfinite(number):
        raise ValueError(word)
    return number


def to_linear(srgb: Tensor) -> Tensor:
    """Convert sRGB values to linear light (IEC 61966-2-1).

    Args:
        srgb: float [...,H,W,3] in 0..1.

    Returns:
        Linear light in 0..1, of the same shape.

    Raises:
        PackageError: kornia is missing.
    """
    colours = require("kornia.color", "compositing in linear light")
    return colours.rgb_to_linear_rgb(srgb.movedim(-1, -3)).movedim(-3, -1)


def to_srgb(linear: Tensor) -> Tensor:
    """Convert linear light to sRGB values (IEC 61966-2-1), the inverse of `to_linear`.

    Args:
        linear: float [...,H,W,3] in 0..1.

    Returns:
        sRGB values in 0..1, of the same shape.

    Raises:
        PackageError: kornia is missing.
    """
    colours = require("kornia.color", "compositing in linear light")
    return colours.linear_rgb_to_rgb(linear.movedim(-1, -3)).movedim(-3, -1)
