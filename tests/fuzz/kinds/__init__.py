"""All kinds of cases, by name."""

from __future__ import annotations

from . import checkpoints, hubs, journals, names, nodes, pickles, pictures, videos, widgets
from .kind import Bytes, Kind

__all__ = ["KINDS", "Bytes", "Kind"]

MODULES = (checkpoints, pickles, pictures, videos, names, journals, hubs, widgets, nodes)
KINDS: dict[str, Kind] = {kind.name: kind for module in MODULES for kind in module.KINDS}
