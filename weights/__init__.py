"""Checkpoints: the catalog of published ones, finding them on this machine, downloading them."""

from __future__ import annotations

from .adapters import find_adapter, local_adapters, new_checkpoint, new_file
from .catalog import CATALOG, DEFAULT, NANO, SELECTOR, Entry, entry, match, non_commercial, settings
from .downloads import FetchError, fetch, is_complete
from .lookup import ADAPTERS, FOLDERS, NotFound, find, folders, list_local
from .names import fault, quoted

__all__ = [
    "ADAPTERS",
    "CATALOG",
    "DEFAULT",
    "FOLDERS",
    "NANO",
    "SELECTOR",
    "Entry",
    "FetchError",
    "NotFound",
    "entry",
    "fault",
    "fetch",
    "find",
    "find_adapter",
    "folders",
    "is_complete",
    "list_local",
    "local_adapters",
    "match",
    "new_checkpoint",
    "new_file",
    "non_commercial",
    "quoted",
    "settings",
]
