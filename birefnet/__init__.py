"""BiRefNet in plain PyTorch: `load` a checkpoint, `matte` a photograph."""

from __future__ import annotations

from .checkpoint import load, save
from .config import Config
from .detect import CheckpointError
from .inference import matte, network_size
from .memory import activation_bytes, is_out_of_memory
from .network import BiRefNet

__version__ = "0.1.0"
__all__ = ["BiRefNet", "CheckpointError", "Config", "activation_bytes", "is_out_of_memory", "load", "matte",
           "network_size", "save"]
