"""Checks and quotes names from workflows, which are not trusted."""

from __future__ import annotations

import re
import reprlib
from pathlib import PurePosixPath, PureWindowsPath

LONGEST_PART, LONGEST = 240, 1000  # characters in a part of a name (with room for a suffix), and in all of it
# Windows' names of devices
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
DIRECTION_MARKS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # reorder the displayed name

_quoted = reprlib.Repr()
_quoted.maxstring = _quoted.maxother = 120


def fault(name: str, folders: str) -> str:
    """Explain what is wrong, on any system, with a file's name relative to some folders; "" if nothing.

    Symbolic links in the folders are allowed: only someone with access to a folder can create them.

    Args:
        name: with "/" or a backslash between parts.
        folders: what the message calls them.

    Returns:
        The predicate of a sentence, such as "is empty".
    """
    parts = name.replace("\\", "/").split("/")
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST or max(map(len, parts)) > LONGEST_PART:
        return f"is too long for a file's name ({len(name)} characters)"
    if PurePosixPath(name.replace("\\", "/")).is_absolute() or PureWindowsPath(name).drive or ".." in parts:
        return f"leads out of {folders}"
    if not name.replace(" ", "").isprintable() or DIRECTION_MARKS.search(name):
        return "has characters that cannot be printed"
    if any(DEVICE.fullmatch(part) for part in parts):
        return "has the name of a device of Windows in it"
    if any(part.endswith((".", " ")) for part in parts):
        return "has a part that ends in a dot or a space, which Windows leaves out"
    return ""


def quoted(value: object) -> str:
    """Return any value as a short printable line for a message."""
    return _quoted.repr(value)
