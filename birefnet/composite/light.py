"""Light wrap: the background's light on the subject's edge."""

from __future__ import annotations

from torch import Tensor

from ..imaging.transform import blur


def wrap_light(colour: Tensor, alpha: Tensor, background: Tensor, strength: float, width: float) -> Tensor:
    """Lighten a subject's edge with the blurred background, by "screen" (c + l - c l), which only lightens.

    The light has `strength` at the edge, and falls off inwards like the blurred outside, 1 - alpha.

    Args:
        colour: premultiplied colour [B,H,W,3] in 0..1.
        alpha: float [B,H,W,1] in 0..1, 1 = subject.
        background: float [B,H,W,3] in 0..1.
        strength: 0..1.
        width: depth in pixels.

    Returns:
        Premultiplied colour [B,H,W,3] in 0..1.
    """
    if strength <= 0 or width <= 0:
        return colour
    near_edge = (2 * blur(1 - alpha, width / 2)).clamp(0, 1)  # 1/2 on a straight edge
    return colour + strength * near_edge * blur(background, width) * (alpha - colour)
