"""BiRefNet in plain PyTorch: `load` a checkpoint, `matte` a photograph."""

from __future__ import annotations

import importlib

__version__ = "0.3.0"

# Imported when first asked for: PyTorch takes seconds, which the command line's help and mistakes need not wait for.
_HOMES = {
    "Adapter": "adapters",
    "BiRefNet": "network",
    "CheckpointError": "detect",
    "Config": "config",
    "activation_bytes": "memory",
    "best_dtype": "precision",
    "free_memory": "machine",
    "is_out_of_memory": "memory",
    "load": "checkpoint",
    "matte": "inference",
    "network_size": "inference",
    "place": "placement",
    "plan": "memory",
    "save": "checkpoint",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
