"""The subject over its background: placed, with shadow and light, in sRGB values or in linear light."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.colour import to_linear, to_srgb
from ..imaging.resample import Size, coverage, part, planar
from ..masks import resize
from .canvas import Placement
from .light import wrapped
from .shadow import shadow


@dataclass(frozen=True)
class Look:
    """How subject and background meet. Shadow lengths are shares of the subject's longer side, `light_width` pixels."""

    opacity: float = 1.0
    linear_light: bool = False
    shadow: str = "none"
    shadow_strength: float = 0.5
    shadow_softness: float = 0.05
    shadow_x: float = 0.0
    shadow_y: float = 0.0
    light_wrap: float = 0.0
    light_width: float = 0.0


PLAIN = Look()


def layer(image: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Straight colours [B,H,W,3] and alpha [B,H,W] of image [B,H,W,C], C 1 (grey), 3 or 4 (straight RGBA), all in 0..1 and
    on the image's device.

    mask: [B,h,w], 1 = subject, brought to the image's size. Of it and the image's own opacity the smaller counts, not
    the product: a cut-out may come with the mask that it was cut with. Raises ValueError where there is neither.
    """
    opacity = image[..., 3] if image.shape[-1] == 4 else None
    if mask is None and opacity is None:
        raise ValueError(f"expected a mask, or an image with opacity [B,H,W,4], got an image {list(image.shape)} alone")
    colours = image[..., :3] if image.shape[-1] >= 3 else image.expand(*image.shape[:3], 3)
    if mask is None:
        return colours, opacity
    mask = resize(mask.to(image.device), image.shape[1:3])
    return colours, mask if opacity is None else torch.minimum(mask, opacity)


def compose(
    image: Tensor, alpha: Tensor, where: Placement, canvas: Size, background: Tensor | None = None, look: Look = PLAIN
) -> tuple[Tensor, Tensor]:
    """The subject of image [1,h,w,3] under alpha [1,h,w] on a canvas: picture [1,*canvas,3] and its alpha [1,*canvas].

    "Over" (Porter and Duff 1984) of premultiplied colours, in float32. background [1,*canvas,3]; without one the
    picture has a fourth channel, opacity, beside straight colours, and no light is wrapped. The alpha is the subject's,
    as placed and with its opacity, without the shadow.
    """
    mix, unmix = (to_linear, to_srgb) if look.linear_light else (_same, _same)
    alpha = alpha[..., None]
    colour, alpha = _moved(mix(planar(image)) * alpha, alpha, where, canvas)
    shade = shadow(alpha[0, ..., 0], look.shadow, look.shadow_softness, look.shadow_x, look.shadow_y)[None, ..., None]
    shade = shade * (look.shadow_strength * look.opacity)
    if background is None:
        colour, alpha = colour * look.opacity, alpha * look.opacity
        total = alpha + shade * (1 - alpha)
        straight = unmix((colour / total.clamp(min=1e-6)).clamp(0, 1))
        return torch.cat([straight, total], dim=-1), alpha[..., 0]
    background = mix(planar(background))
    colour = wrapped(colour, alpha, background, look.light_wrap, look.light_width) * look.opacity
    alpha = alpha * look.opacity
    return unmix(colour + background * ((1 - shade) * (1 - alpha))).clamp(0, 1), alpha[..., 0]


def _moved(colour: Tensor, alpha: Tensor, where: Placement, canvas: Size) -> tuple[Tensor, Tensor]:
    """Premultiplied colour [1,h,w,3] and alpha [1,h,w,1] on the canvas, [1,*canvas,·], nothing beyond their picture."""
    picture, box = tuple(alpha.shape[1:3]), where.seen(canvas)
    if (picture, box) == (canvas, (0, 0, *canvas)):
        return colour, alpha
    colour, loose = part(colour, box, canvas), part(alpha, box, canvas)
    alpha = loose.clamp(0, 1)
    colour = torch.minimum((colour * (alpha / loose.clamp(min=1e-6))).clamp(min=0), alpha)  # undoes overshoot in both
    covered = coverage(picture, box, canvas)[..., None].to(alpha)
    return colour * covered, alpha * covered


def _same(values: Tensor) -> Tensor:
    return values
