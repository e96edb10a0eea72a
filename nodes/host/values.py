"""Checks widget values: the host checks those typed into a node, not those from another node."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable

from comfy_api.latest import io

from ...birefnet import composite
from ...weights import quoted

WIDGETS = (io.Int.Input, io.Float.Input, io.Boolean.Input, io.Combo.Input, io.String.Input,
           io.MultiType.Input)

# Widgets that are not checked: their lists differ between machines, and `execute` finds the files.
FILES = {"checkpoint", "adapter", "folder"}

_widgets: dict[str, list] = {}  # by node class; cached, because the loader's schema scans folders


def checked(execute: Callable) -> Callable:
    """Decorate a node's `execute` to raise ValueError for a widget's value of the wrong kind or out of range.

    Names of FILES need not be in the widget's list.
    """

    @functools.wraps(execute)
    def run(cls, **values):
        if cls.__qualname__ not in _widgets:
            _widgets[cls.__qualname__] = [widget for widget in cls.define_schema().inputs
                                          if isinstance(widget, WIDGETS) and widget.id not in FILES]
        for widget in _widgets[cls.__qualname__]:
            if widget.id in values:
                values[widget.id] = check_value(widget, values[widget.id])
        return execute(cls, **values)

    return run


def check_value(widget, value: object) -> object:
    """A value as its widget's type. Whole floats are accepted as integers, 0 and 1 as booleans."""
    # NaN for anything that is not a number: it fails all comparisons.
    real = value if isinstance(value, numbers.Real) and abs(value) < 2**63 else math.nan
    if isinstance(widget, (io.Int.Input, io.Float.Input)):
        kind, words = (int, "a whole number") if isinstance(widget, io.Int.Input) else (float, "a number")
        if widget.min <= real <= widget.max and kind(real) == real:
            return kind(real)
        wanted = f"{words} from {widget.min} to {widget.max}"
    elif isinstance(widget, io.Boolean.Input):
        if real in (0, 1):
            return bool(real)
        wanted = "true or false"
    elif isinstance(widget, io.Combo.Input):
        if isinstance(value, str) and value in widget.options:
            return value
        wanted = " or ".join(map(str, widget.options))
    else:
        if isinstance(value, str):
            return value
        wanted = "a text"
    raise ValueError(f"Set {widget.id} to {wanted}: it is {quoted(value)}.")


def fault_of_colour(text: object, advice: str) -> bool | str:
    """Explain, for `validate_inputs`, what is wrong with a colour; True if it is valid or not yet known."""
    try:
        if isinstance(text, str):
            composite.opaque_colour(text, advice)
    except ValueError as error:
        return str(error)
    return True
