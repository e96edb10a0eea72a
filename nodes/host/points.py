"""Reads points on a picture from text, in the form of KJNodes' point editor and ComfyUI's SAM 3 nodes.

Does not import ComfyUI.
"""

from __future__ import annotations

import json
import math

from ...birefnet.files.errors import one_line


def points_of(text: str) -> list[tuple[int, int]]:
    """Return the pixels (x, y) in a text such as '[{"x": 120, "y": 80}]'; [] for an empty text.

    Raises:
        ValueError: the text has another form.
    """
    if not text.strip():
        return []
    try:
        return [_pixel(entry) for entry in json.loads(text)]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise ValueError('Write points as [{"x": 120, "y": 80}], in pixels of the picture: got '
                         f"{one_line(text[:100])!r}") from None


def _pixel(entry: object) -> tuple[int, int]:
    """The pixel of one point: an object with x and y, or a pair."""
    x, y = (entry["x"], entry["y"]) if isinstance(entry, dict) else entry
    if isinstance(x, bool) or isinstance(y, bool) or not math.isfinite(x + y):
        raise ValueError
    return math.floor(x), math.floor(y)
