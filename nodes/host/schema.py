"""Node schemas for every host version: categories, aliases, socket types, and keywords that older hosts lack."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from comfy_api.latest import io

CATEGORY = "image/BiRefNet"
ALIASES = ("background removal", "rembg", "matting", "cutout", "remove bg")  # what users type to find such nodes
# Core's own socket types; hosts older than they are get some of the same name.
BackgroundRemoval = getattr(io, "BackgroundRemoval", None) or io.Custom("BACKGROUND_REMOVAL")
BoundingBox = getattr(io, "BoundingBox", None) or io.Custom("BOUNDING_BOX")


def make(kind: Callable, *args, **words):
    """kind(*args, **words) without the keywords that this host's version of it lacks: `advanced`, `search_aliases`."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{name: value for name, value in words.items() if name in known})
