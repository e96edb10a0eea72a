"""Encoder families. Each is a file or folder here, and an entry of the list, in the order of trial."""

from __future__ import annotations

from ..family import Family
from .dino import DINOv3Family
from .efficientnet_lite import EfficientNetLiteFamily
from .pvt import PVTFamily
from .swin import SwinFamily
from .timm import TimmFamily

FAMILIES: dict[str, Family] = {family.name: family for family in (
    SwinFamily(),
    PVTFamily(),
    DINOv3Family(),
    EfficientNetLiteFamily(),
    TimmFamily(),
)}
