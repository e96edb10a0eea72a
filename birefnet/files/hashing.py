"""What tells one content of a file from another."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK = 1 << 20  # bytes read at a time


def sha256(*files: Path) -> str:
    """The SHA-256, in hex, of the files' contents one behind the other, in constant memory. Raises OSError where one
    cannot be read.

    (hashlib.file_digest needs Python 3.11.)
    """
    found = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
    return found.hexdigest()
