"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK = 1 << 20  # bytes read at a time


def sha256(*files: Path) -> str:
    """Compute the SHA-256, in hex, of the files' concatenated contents, in constant memory.

    Raises:
        OSError: a file cannot be read.
    """
    found = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    for path in files:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
    return found.hexdigest()
