"""Colours that options name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..imaging.colour import to_linear


def to_colour(rgb: Sequence[float], *, linear: bool) -> Tensor:
    """An sRGB colour in 0..1 as a tensor [3], converted to linear light if `linear`."""
    colour = torch.tensor(rgb)
    return to_linear(colour.view(1, 1, 3)).view(3) if linear else colour
