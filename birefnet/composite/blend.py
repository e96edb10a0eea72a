"""Composite the subject over its background, with shadow and light, in sRGB values or in linear light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.colour import to_linear, to_srgb
from ..imaging.transform import Size, coverage, resample_box, to_planar, turn, turned_bounds
from ..masks import resize
from .canvas import Placement
from .light import wrap_light
from .shadow import cast_shadow


@dataclass(frozen=True)
class BlendSettings:
    """How subject and background are blended.

    Args:
        opacity: of the subject and its shadow, 0..1.
        linear_light: mix light instead of stored values.
        shadow: one of SHADOWS.
        shadow_strength: 0..1, how dark the shadow is.
        shadow_softness, shadow_x, shadow_y: blur and displacement right and down, as shares of the subject's
            longer side.
        light_wrap: 0..1, how much of the background's light falls on the subject's edge.
        light_width: depth of that light, in pixels.
    """

    opacity: float = 1.0
    linear_light: bool = False
    shadow: str = "none"
    shadow_strength: float = 0.5
    shadow_softness: float = 0.05
    shadow_x: float = 0.0
    shadow_y: float = 0.01  # a little below, as under light from above
    light_wrap: float = 0.0
    light_width: float = 0.0


def split_layers(image: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split an image into straight colours and alpha.

    Alpha is the smaller of the mask and the image's own opacity, not their product: a cut-out may come with
    the mask that it was cut out with.

    Args:
        image: float [B,H,W,C] in 0..1, C 1 (grey), 3 or 4 (straight RGBA).
        mask: float [B,h,w] in 0..1, 1 = subject; is resized to the image.

    Returns:
        Colours [B,H,W,3] and alpha [B,H,W] in 0..1 on the image's device.

    Raises:
        ValueError: there is neither a mask nor opacity.
    """
    opacity = image[..., 3] if image.shape[-1] == 4 else None
    if mask is None and opacity is None:
        raise ValueError("Give a mask, or an image with opacity [B,H,W,4]: got an image "
                         f"{list(image.shape)} alone")
    colours = image[..., :3] if image.shape[-1] >= 3 else image.expand(*image.shape[:3], 3)
    if mask is None:
        return colours, opacity
    mask = resize(mask.to(image.device), image.shape[1:3])
    return colours, mask if opacity is None else torch.minimum(mask, opacity)


def compose(
    image: Tensor, alpha: Tensor, where: Placement, canvas: Size, background: Tensor | None = None,
    settings: BlendSettings = BlendSettings(),
) -> tuple[Tensor, Tensor]:
    """Composite a subject on a canvas: "over" (Porter and Duff 1984) of premultiplied colours in float32.

    Args:
        image: float [1,h,w,3] in 0..1.
        alpha: float [1,h,w] in 0..1, 1 = subject.
        where: the picture's place on the canvas.
        canvas: height and width in pixels.
        background: float [1,*canvas,3] in 0..1; None for transparent, without wrapped light.
        settings: see `BlendSettings`.

    Returns:
        The picture [1,*canvas,3], or straight RGBA [1,*canvas,4] without a background; and the subject's
        alpha [1,*canvas] as placed and with its opacity, without the shadow. All in 0..1.

    Raises:
        PackageError: kornia is missing, for linear light.
    """
    mix, unmix = (to_linear, to_srgb) if settings.linear_light else (lambda stored: stored,) * 2
    alpha = alpha[..., None]
    colour, alpha = _place(mix(to_planar(image)) * alpha, alpha, where, canvas)
    shade = cast_shadow(alpha[0, ..., 0], settings.shadow, settings.shadow_softness, settings.shadow_x,
                        settings.shadow_y)
    shade = shade[None, ..., None] * (settings.shadow_strength * settings.opacity)
    if background is None:
        colour, alpha = colour * settings.opacity, alpha * settings.opacity
        total = alpha + shade * (1 - alpha)
        straight = unmix((colour / total.clamp(min=1e-6)).clamp(0, 1))
        return torch.cat([straight, total], dim=-1), alpha[..., 0]
    background = mix(to_planar(background))
    colour = wrap_light(colour, alpha, background, settings.light_wrap, settings.light_width)
    colour = colour * settings.opacity
    alpha = alpha * settings.opacity
    return unmix(colour + background * ((1 - shade) * (1 - alpha))).clamp(0, 1), alpha[..., 0]


def _place(colour: Tensor, alpha: Tensor, where: Placement, canvas: Size) -> tuple[Tensor, Tensor]:
    """Place premultiplied colour [1,h,w,3] and alpha [1,h,w,1] on a canvas: [1,*canvas,·], 0 beside them."""
    if not where.rotation % 360:
        return _place_unrotated(colour, alpha, where, canvas)
    # First, without the rotation, the part that the canvas will show, at its scale; then the rotation.
    height, width = (side * where.scale for side in alpha.shape[1:3])
    seen = turned_bounds(canvas, where.rotation, where.pivot)
    top, left = (math.floor(max(a, b)) for a, b in zip(seen[:2], (where.top, where.left)))
    bottom, right = (math.ceil(min(a, b)) for a, b in
                     zip(seen[2:], (where.top + height, where.left + width)))
    if bottom <= top or right <= left:
        return alpha.new_zeros(1, *canvas, 3), alpha.new_zeros(1, *canvas, 1)
    shifted = Placement(where.top - top, where.left - left, where.scale)
    layers = torch.cat(_place_unrotated(colour, alpha, shifted, (bottom - top, right - left)), dim=-1)
    pivot = where.pivot[0] - top, where.pivot[1] - left
    layers = turn(layers, where.rotation, pivot, (-top, -left), canvas)
    return _remove_overshoot(layers[..., :3], layers[..., 3:])


def _place_unrotated(colour: Tensor, alpha: Tensor, where: Placement, canvas: Size) -> tuple[Tensor, Tensor]:
    """`_place` without a rotation."""
    picture, box = tuple(alpha.shape[1:3]), where.visible_box(canvas)
    if (picture, box) == (canvas, (0, 0, *canvas)):
        return colour, alpha
    colour, alpha = _remove_overshoot(resample_box(colour, box, canvas), resample_box(alpha, box, canvas))
    covered = coverage(picture, box, canvas)[..., None].to(alpha)
    return colour * covered, alpha * covered


def _remove_overshoot(colour: Tensor, loose: Tensor) -> tuple[Tensor, Tensor]:
    """Clamp resampled alpha to 0..1, and premultiplied colour to 0..alpha."""
    alpha = loose.clamp(0, 1)
    return torch.minimum((colour * (alpha / loose.clamp(min=1e-6))).clamp(min=0), alpha), alpha
