"""BiRefNet in plain PyTorch: `load` a checkpoint, `matte` a photograph."""

from __future__ import annotations

import importlib

__version__ = "0.3.0"

# Imported when first asked for: PyTorch takes seconds, which the command line's help and mistakes need not
# wait for.
_HOMES = {
    "Adapter": "checkpoint.adapters",
    "BiRefNet": "network.birefnet",
    "CheckpointError": "files.errors",
    "Config": "network.config",
    "activation_bytes": "network.cost",
    "best_dtype": "device.dtypes",
    "free_memory": "device.free_memory",
    "is_out_of_memory": "device.memory",
    "load": "checkpoint.load",
    "matte": "matting.predict",
    "network_size": "network.config",
    "place": "device.placement",
    "plan": "network.cost",
    "save": "checkpoint.load",
}
_MODULES = {"pictures": "imaging.pictures"}
__all__ = sorted(_HOMES | _MODULES)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value = importlib.import_module(f".{_MODULES[name]}", __name__)
    elif name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
