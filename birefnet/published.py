"""The authors' builds by their backbones' names."""

from __future__ import annotations

from .config import KNOWN_BACKBONES, Config
from .detect import PVT_HEADS

BACKBONES = {name: key for key, name in KNOWN_BACKBONES.items()}


def config(backbone: str) -> Config:
    """The authors' build on a backbone, one of BACKBONES."""
    family, widths, depths = BACKBONES[backbone]
    if family == "pvt_v2":
        ratios = (4, 4, 4, 4) if backbone == "pvt_v2_b5" else (8, 8, 4, 4)
        return Config(family, widths, depths, PVT_HEADS, mlp_ratios=ratios)
    window = 12 if backbone in ("swin_v1_b", "swin_v1_l") else 7
    return Config(family, widths, depths, tuple(width // 32 for width in widths), window=window)
