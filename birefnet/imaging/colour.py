"""Colours: CSS notation to sRGB values, and sRGB to linear light and back."""

from __future__ import annotations

import colorsys
import math
import re

import torch
from PIL import ImageColor
from torch import Tensor

from ..files.errors import UserError
from ..files.packages import require

FUNCTION = re.compile(r"(rgb|hsl)a?\(([^()]*)\)")


def parse(text: str) -> tuple[float, float, float, float]:
    """Red, green, blue and opacity in 0..1 of a CSS colour: a word, #rgb, #rrggbb (with opacity #rgba, #rrggbbaa),
    rgb(…) or hsl(…) in the old notation with commas or the new one without. Raises ValueError for anything else."""
    wanted = text.strip().lower()
    if wanted == "transparent":
        return 0.0, 0.0, 0.0, 0.0
    try:
        found = FUNCTION.fullmatch(wanted)
        values = _function(*found.groups()) if found else [v / 255 for v in ImageColor.getrgb(wanted)]
    except ValueError:
        raise UserError(f"expected a colour, got {text!r}: write it as in CSS (white, #20a0ff, rgb(32 160 255), "
                      "hsl(206 100% 56%))") from None
    red, green, blue, opacity = (min(max(v, 0.0), 1.0) for v in (*values, 1.0)[:4])
    return red, green, blue, opacity


def opaque_colour(text: str, advice: str) -> Tensor:
    """A CSS colour as [3] in 0..1. Raises ValueError as `parse` does, and for one that lets something through: `advice`,
    the end of that sentence, is what to do for transparency."""
    *colour, opacity = parse(text)
    if opacity < 1:
        raise UserError(f"expected an opaque colour, got {text!r}: {advice}")
    return torch.tensor(colour)


def _function(name: str, inside: str) -> list[float]:
    words = [word for word in re.split(r"[\s,/]+", inside) if word]
    if len(words) not in (3, 4):
        raise ValueError(inside)
    opacity = [_number(words[3])] if len(words) == 4 else []
    if name == "rgb":
        return [_number(word, whole=255) for word in words[:3]] + opacity
    hue = _number(words[0].removesuffix("deg"), whole=360)
    saturation, lightness = (_number(word, whole=100) for word in words[1:3])
    red, green, blue = colorsys.hls_to_rgb(hue % 1, min(max(lightness, 0), 1), min(max(saturation, 0), 1))
    return [red, green, blue, *opacity]


def _number(word: str, whole: float = 1) -> float:
    """A percentage as it is, another number as a share of `whole`."""
    number = float(word[:-1]) / 100 if word.endswith("%") else float(word) / whole
    if not math.isfinite(number):
        raise ValueError(word)
    return number


def to_linear(srgb: Tensor) -> Tensor:
    """sRGB values [...,H,W,3] in 0..1 as linear light of the same shape (IEC 61966-2-1)."""
    colours = require("kornia.color", "compositing in linear light")
    return colours.rgb_to_linear_rgb(srgb.movedim(-1, -3)).movedim(-3, -1)


def to_srgb(linear: Tensor) -> Tensor:
    """Linear light [...,H,W,3] in 0..1 as sRGB values of the same shape: the inverse of `to_linear`."""
    colours = require("kornia.color", "compositing in linear light")
    return colours.linear_rgb_to_rgb(linear.movedim(-1, -3)).movedim(-3, -1)
