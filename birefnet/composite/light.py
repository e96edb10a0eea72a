"""Light that the background throws on the subject's edge."""

from __future__ import annotations

from torch import Tensor

from ..imaging.resample import blur


def wrapped(colour: Tensor, alpha: Tensor, background: Tensor, strength: float, width: float) -> Tensor:
    """A subject's premultiplied colour [B,H,W,3] under alpha [B,H,W,1] with the light of background [B,H,W,3] on its
    edge, `width` pixels deep.

    The blurred background is laid over the colour by "screen" (c + l - c l), which only lightens: at the edge with
    `strength` (0..1), inwards ever less, as the blurred outside (1 - alpha) falls off.
    """
    if strength <= 0 or width <= 0:
        return colour
    near_edge = (2 * blur(1 - alpha, width / 2)).clamp(0, 1)  # 1/2 on a straight edge
    return colour + strength * near_edge * blur(background, width) * (alpha - colour)
