"""Green and blue screens: measure their colour, and remove their light from the subject (despill)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...files.errors import UserError
from ...imaging.colour import to_linear, to_srgb
from ...imaging.finite import check_finite

LIMITS = ("average", "maximum")
BORDER_SHARE = 0.04   # of the shorter side: width of the frame in which the screen is measured
BACKGROUND = 0.02     # alpha up to which a pixel shows the screen alone
FEWEST_PIXELS = 16    # of background, to measure the screen
LEAST_EXCESS = 0.05   # of a screen's channel over the others, in linear light: with less, it is no screen
GREEN, BLUE = 1, 2


class NoBackgroundError(UserError):
    """A picture shows too little background to measure the screen's colour."""


def despill(image: Tensor, screen: Tensor, limit: str = LIMITS[0], *, strength: float = 1.0,
            linear: bool = False) -> Tensor:
    """Remove a screen's light.

    Light s S of the screen's colour S is subtracted from each pixel C so that its green (or blue) becomes the
    average, or the larger, of its other two channels, if it was above:

        s = strength max(0, C_k - m(C)) / (S_k - m(S)),   k the screen's channel, m the mean or the maximum.

    A grey subject lit by an amount s of the screen is restored exactly. Pixels without spill are unchanged,
    bit for bit.

    Args:
        image: float [B,H,W,C], C 3 or 4; a fourth channel is ignored.
        screen: float [3] or [B,3], the screen's colour, in the image's kind of values.
        limit: "average", or "maximum", which leaves yellow (purple at blue screens) as it is.
        strength: 0..1, the share that is removed.
        linear: whether the values are linear light, of any brightness; else they are sRGB in 0..1.

    Returns:
        float32 [B,H,W,3].

    Raises:
        ValueError: shapes, limit or strength are wrong.
        UserError: the screen is neither green nor blue, or a value is not finite.
        PackageError: kornia is missing, for sRGB.
    """
    if image.ndim != 4 or image.shape[-1] not in (3, 4) or not image.is_floating_point():
        raise ValueError(f"Give a float image [B,H,W,3 or 4]: got {list(image.shape)}")
    if limit not in LIMITS or not 0 <= strength <= 1:
        raise ValueError(f"Set limit to {' or '.join(LIMITS)} and strength to 0..1: they are {limit} and "
                         f"{strength:g}")
    image = image[..., :3].float()
    check_finite(image, "image")
    screens = screen.to(image).reshape(-1, 1, 1, 3)
    light, screens = (image, screens) if linear else (to_linear(image), to_linear(screens))
    results = [_remove_screen(one, colour, limit, strength) for one, colour in
               zip(light, screens.expand(len(image), 1, 1, 3))]
    if not results:
        return image
    changed = torch.stack(results)
    same = changed == light
    return torch.where(same.all(-1, keepdim=True), image, changed if linear else to_srgb(changed.clamp(0, 1)))


def measure_screen(image: Tensor, alpha: Tensor, *, linear: bool = False) -> Tensor:
    """Measure the colour of the screen behind a subject: the median of the background's pixels along the
    picture's border, or in the whole picture if the border has too few.

    Args:
        image: float [H,W,C], C 3 or 4.
        alpha: float [H,W] in 0..1, 1 = subject.
        linear: as for `despill`.

    Returns:
        float32 [3], in the image's kind of values.

    Raises:
        NoBackgroundError: there is too little background.
        UserError: it is neither green nor blue.
    """
    height, width = alpha.shape
    wide = max(1, round(min(height, width) * BORDER_SHARE))
    border = torch.ones_like(alpha, dtype=torch.bool)
    border[wide:height - wide, wide:width - wide] = False
    behind = alpha <= BACKGROUND
    shown = image[..., :3][behind & border]
    if len(shown) < FEWEST_PIXELS:
        shown = image[..., :3][behind]
    if len(shown) < FEWEST_PIXELS:
        raise NoBackgroundError("Set the screen's colour: no background is left in the picture to measure it "
                                "from")
    colour = shown.float().median(dim=0).values
    channel_of(colour if linear else to_linear(colour.view(1, 1, 3)).view(3), "maximum")
    return colour


def channel_of(screen: Tensor, limit: str) -> int:
    """The channel, GREEN or BLUE, in which a screen's linear colour [3] exceeds the others; raises
    UserError."""
    channel = int(screen.argmax())
    others = screen[[i for i in range(3) if i != channel]]
    excess = screen[channel] - _limit(others, limit)
    if channel not in (GREEN, BLUE) or excess < LEAST_EXCESS:
        red, green, blue = screen.tolist()
        raise UserError("Set the colour of a green or blue screen: this one is "
                        f"({red:.2f}, {green:.2f}, {blue:.2f}) in linear light")
    return channel


def _limit(others: Tensor, limit: str) -> Tensor:
    """The limit m of the two other channels [...,2]."""
    return others.mean(-1) if limit == "average" else others.amax(-1)


def _remove_screen(light: Tensor, screen: Tensor, limit: str, strength: float) -> Tensor:
    """Remove the light of a screen [1,1,3] from linear light [H,W,3]."""
    channel = channel_of(screen[0, 0], limit)
    others = [i for i in range(3) if i != channel]
    excess = screen[0, 0, channel] - _limit(screen[0, 0, others], limit)
    share = (light[..., channel] - _limit(light[..., others], limit)).clamp(min=0) * (strength / excess)
    lowest = torch.minimum(light, torch.zeros(()).to(light))  # keeps values below 0, adds none
    return torch.where(share[..., None] > 0, torch.maximum(light - share[..., None] * screen, lowest), light)
