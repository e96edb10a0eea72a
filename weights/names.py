"""Names that come with a workflow, and so from anybody: what such a name may not be, and how it is quoted."""

from __future__ import annotations

import re
import reprlib
from pathlib import PurePosixPath, PureWindowsPath

LONGEST_PART, LONGEST = 240, 1000  # characters of a file's name (with room for a suffix) and of all of it
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)  # Windows' own
TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # show a name as another one

_quoted = reprlib.Repr()
_quoted.maxstring = _quoted.maxother = 120


def fault(name: str, folders: str) -> str:
    """Why a name is none of a file below `folders` (how a sentence calls them), on any system; "" where it is.

    Such a name is relative and goes down only. What lies there is the user's own business: a link that leads elsewhere
    is followed, because only somebody who may write into the folder can have put it there.
    """
    parts = name.replace("\\", "/").split("/")
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST or max(map(len, parts)) > LONGEST_PART:
        return f"is too long for a file's name ({len(name)} characters)"
    if PurePosixPath(name.replace("\\", "/")).is_absolute() or PureWindowsPath(name).drive or ".." in parts:
        return f"leads out of {folders}"
    if not name.replace(" ", "").isprintable() or TURNS.search(name):
        return "has characters that cannot be printed"
    if any(DEVICE.fullmatch(part) for part in parts):
        return "has the name of a device of Windows in it"
    if any(part.endswith((".", " ")) for part in parts):
        return "has a part that ends in a dot or a space, which Windows leaves out"
    return ""


def quoted(value: object) -> str:
    """Any value as it may stand in a message: on one line, printable, and short."""
    return _quoted.repr(value)
