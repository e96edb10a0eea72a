"""Widget values as they arrive: the host checks what is typed into a node, but not what another node
sends."""

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

FILES = {"checkpoint", "adapter", "folder"}  # of one machine: `execute` finds others, or says what to do

_widgets: dict[str, list] = {}  # of each node, asked for once: the loader looks into folders for its own


def checked(execute: Callable) -> Callable:
    """For a node's `execute`: each widget's value is of its kind and in its range, else a ValueError says
    which is not.

    Names of files need not be in their list.
    """

    @functools.wraps(execute)
    def run(cls, **values):
        if cls.__qualname__ not in _widgets:
            _widgets[cls.__qualname__] = [widget for widget in cls.define_schema().inputs
                                          if isinstance(widget, WIDGETS) and widget.id not in FILES]
        for widget in _widgets[cls.__qualname__]:
            if widget.id in values:
                values[widget.id] = settled(widget, values[widget.id])
        return execute(cls, **values)

    return run


def settled(widget, value: object) -> object:
    """The value as the node's code may rely on it. Whole floats are taken for integers, 0 and 1 for
    switches."""
    # NaN is equal to nothing.
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
    """For `validate_inputs`: what is wrong with a colour that is known before the run, or True."""
    try:
        if isinstance(text, str):
            composite.opaque_colour(text, advice)
    except ValueError as error:
        return str(error)
    return True
