"""Checkpoints: which there are (catalog), where they are on this machine (find), how to get them (fetch)."""

from __future__ import annotations

from .catalog import CATALOG, NANO, Entry, entry, match, settings
from .fetch import FetchError, fetch
from .find import FOLDERS, NotFound, find, folders, local
from .names import fault, quoted

__all__ = [
    "CATALOG",
    "FOLDERS",
    "NANO",
    "Entry",
    "FetchError",
    "NotFound",
    "entry",
    "fault",
    "fetch",
    "find",
    "folders",
    "local",
    "match",
    "quoted",
    "settings",
]
