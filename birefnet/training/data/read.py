"""A picture and its mask as they lie on each other: upright, in floats."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ... import pictures
from ...evaluation.pairs import Pair


def read_pair(pair: Pair) -> tuple[Tensor, Tensor]:
    """The picture [1,H,W,3 or 4] and its mask [1,H,W], float32 in 0..1. Raises pictures.PictureError."""
    return pictures.read(pair.picture), read_mask(pair.truth)


def read_mask(path: Path) -> Tensor:
    """A mask file as [1,H,W] in 0..1, upright; 16-bit levels are scaled, and colours averaged."""
    return torch.mean(pictures.read(path)[..., :3], -1)
