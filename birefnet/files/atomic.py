"""Atomic writes: files and folders appear complete or not at all, even if the process is killed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Part:
    """A temporary file or folder beside `target`; the caller fills `path`."""

    def __init__(self, target: Path, folder: bool) -> None:
        self.target, self._ours = target, True
        self.path, self._lock = _claim(target, folder)

    def keep(self, *, new: bool = False, inner: str = "") -> None:
        """Renames it to the target, replacing what is there.

        Args:
            new: raise FileExistsError if the target exists.
            inner: rename the file of that name in the folder `path` instead of the folder itself.
        """
        made = self.path / inner
        if made.is_file():
            with open(made, "rb+") as file:
                os.fsync(file.fileno())  # network disks report write errors here at the latest
        if new:
            _rename_to_new(made, self.target)
        else:
            os.replace(made, self.target)
            self._ours = bool(inner)  # after a rename, the name may become another process's

    def drop(self) -> None:
        """Removes the part unless it has been renamed."""
        with contextlib.suppress(OSError):
            if self._ours:
                _remove(self.path)
        if self._lock is not None:
            os.close(self._lock)


@contextlib.contextmanager
def atomic_write(target: Path, *, folder: bool = False) -> Iterator[Part]:
    """A `Part` for a file or a folder, removed unless its `keep` is called; missing parent folders are made.

    A killed process leaves its part behind; the next one that writes the same target removes it. A lock tells
    whether the owner still lives. Without locks (Windows, some network shares) parts get random names, and a
    killed process's part stays.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "its folder is a file", target.parent) from None
    part = Part(target, folder)
    try:
        yield part
    finally:
        part.drop()


def _claim(target: Path, folder: bool) -> tuple[Path, int | None]:
    """A new empty file or folder of this process alone, and the descriptor that holds its lock, if any."""
    # A hash, as the name itself might be too long with a suffix.
    usual = hashlib.sha1(os.fsencode(target.name)).hexdigest()[:16]
    path = target.parent / f".{usual}.part"
    for _ in range(2) if fcntl else ():
        made = _make(path, folder)
        descriptor = _lock(path, made)
        if descriptor is None:
            break
        if made:
            return path, descriptor
        _remove(path)  # a dead process's
        os.close(descriptor)
    path = target.parent / f".{secrets.token_hex(8)}.part"
    _make(path, folder)
    return path, None


def _make(path: Path, folder: bool) -> bool:
    """Whether it was made; False if it exists."""
    try:
        path.mkdir() if folder else path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _lock(path: Path, made: bool) -> int | None:
    """A descriptor that holds the lock of the file or folder at `path`; None if it cannot be locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:  # renamed meanwhile, or another user's
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return descriptor  # else its owner gave it its name before the lock was ours
    except BlockingIOError:
        pass  # a living process's
    except OSError:  # no locks here, or no such name any more
        if made:
            _remove(path)
    os.close(descriptor)
    return None


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _rename_to_new(part: Path, path: Path) -> None:
    """Renames `part` to `path` atomically; raises FileExistsError if that exists, also in a race."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        # No hard links (FAT, some network shares): claim the name with an empty file, then replace the claim.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(part, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically."""
    with atomic_write(path) as part:
        part.path.write_bytes(content)
        part.keep()
