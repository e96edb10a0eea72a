"""BiRefNet in plain PyTorch: `load` a checkpoint, `matte` a photograph."""

from __future__ import annotations

from .config import Config
from .network import BiRefNet

__version__ = "0.1.0"
__all__ = ["BiRefNet", "Config"]
