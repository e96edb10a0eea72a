"""The hash of files: of their contents, one behind the other."""

from __future__ import annotations

import hashlib

import pytest

from birefnet.files import hashing as digest
from birefnet.files.hashing import sha256


def test_several_files_count_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(digest, "BLOCK", 7)  # no file is read at once
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"of more than one block")
    second.write_bytes(b"")
    assert sha256(first) == hashlib.sha256(b"of more than one block").hexdigest()
    assert sha256(first, second, first) == hashlib.sha256(2 * b"of more than one block").hexdigest()


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "gone")
