"""The subject over its background: placed, with shadow and light, in sRGB values or in linear light."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import Placement
from .colour import to_linear, to_srgb
from .light import wrapped
from .resample import Size, coverage, part
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


def compose(
    image: Tensor, alpha: Tensor, where: Placement, canvas: Size, background: Tensor | None = None, look: Look = PLAIN
) -> tuple[Tensor, Tensor]:
    """The subject of image [1,h,w,3] under alpha [1,h,w] on a canvas: picture [1,*canvas,3] and its alpha [1,*canvas].

    "Over" (Porter and Duff 1984) of premultiplied colours, in float32. background [1,*canvas,3]; without one the
    picture has a fourth channel, opacity, beside straight colours, and no light is wrapped. The alpha is the subject's,
    as placed and with its opacity, without the shadow.
    """
    mix, unmix = (to_linear, to_srgb) if look.linear_light else (_same, _same)
    subject = _moved(torch.cat([mix(image) * alpha[..., None], alpha[..., None]], dim=-1), where, canvas)
    shade = shadow(subject[0, ..., 3], look.shadow, look.shadow_softness, look.shadow_x, look.shadow_y)[None, ..., None]
    shade = shade * (look.shadow_strength * look.opacity)
    if background is not None:
        background = mix(background)
        subject = wrapped(subject, background, look.light_wrap, look.light_width)
    subject = subject * look.opacity
    colour, alpha = subject[..., :3], subject[..., 3:]
    if background is not None:
        return unmix(colour + background * (1 - shade) * (1 - alpha)).clamp(0, 1), alpha[..., 0]
    total = alpha + shade * (1 - alpha)
    straight = unmix((colour / total.clamp(min=1e-6)).clamp(0, 1))
    return torch.cat([straight, total], dim=-1), alpha[..., 0]


def _moved(subject: Tensor, where: Placement, canvas: Size) -> Tensor:
    """Premultiplied subject [1,h,w,4] on the canvas, [1,*canvas,4], nothing beyond its picture."""
    box = where.seen(canvas)
    moved = part(subject, box, canvas)
    if moved is subject:
        return subject
    colour, alpha = moved[..., :3], moved[..., 3:]
    within = alpha.clamp(0, 1)
    colour = torch.minimum((colour * (within / alpha.clamp(min=1e-6))).clamp(min=0), within)  # undoes overshoot in both
    covered = coverage(tuple(subject.shape[1:3]), box, canvas)[..., None].to(moved)
    return torch.cat([colour, within], dim=-1) * covered


def _same(values: Tensor) -> Tensor:
    return values
