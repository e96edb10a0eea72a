"""Light that the background throws on the subject's edge."""

from __future__ import annotations

import torch
from torch import Tensor

from .resample import blur


def wrapped(subject: Tensor, background: Tensor, strength: float, width: float) -> Tensor:
    """Premultiplied subject [B,H,W,4] with the light of background [B,H,W,3] on its edge, `width` pixels deep.

    The blurred background is laid over the subject's colour by "screen" (c + l - c l), which only lightens: at the edge
    with `strength` (0..1), inwards ever less, as the blurred outside (1 - alpha) falls off.
    """
    if strength <= 0 or width <= 0:
        return subject
    colour, alpha = subject[..., :3], subject[..., 3:]
    near_edge = (2 * blur(1 - alpha, width / 2)).clamp(0, 1)  # 1/2 on a straight edge
    light = strength * near_edge * blur(background, width)
    return torch.cat([colour + light * (alpha - colour), alpha], dim=-1)
