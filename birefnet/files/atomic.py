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
        """Rename the part to the target, replacing what is there.

        Args:
            new: raise FileExistsError if the target exists.
            inner: rename the file of this name in the folder `path` instead of the folder itself.

        Raises:
            FileExistsError: `new` is set, and the target exists.
            OSError: the file cannot be written.
        """
        made = self.path / inner
        if made.is_file():
            with open(made, "rb+") as file:
                os.fsync(file.fileno())  # network disks report write errors here at the latest
        moved = True
        if new:
            moved = _rename_to_new(made, self.target)
        else:
            os.replace(made, self.target)
        if moved:
            self._ours = bool(inner)  # after a rename, the name may become another process's

    def drop(self) -> None:
        """Remove the part unless it has been renamed."""
        with contextlib.suppress(OSError):
            if self._ours:
                _remove(self.path)
        if self._lock is not None:
            os.close(self._lock)


@contextlib.contextmanager
def atomic_write(target: Path, *, folder: bool = False) -> Iterator[Part]:
    """Make a `Part` for a file or a folder, and remove it unless its `keep` is called.

    Missing parent folders are made. A killed process leaves its part behind; the next one that writes the
    same target removes it, if the lock shows that the owner no longer runs. Without locks (Windows, some
    network shares) parts get random names, and a killed process's part stays.
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
    """Make an empty file or folder for this process alone; return its path and its lock's descriptor."""
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
        _remove(path)  # left by a process that no longer runs
        os.close(descriptor)
    path = target.parent / f".{secrets.token_hex(8)}.part"
    _make(path, folder)
    return path, None


def _make(path: Path, folder: bool) -> bool:
    """Make a file or folder; return False if it exists."""
    try:
        path.mkdir() if folder else path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _lock(path: Path, made: bool) -> int | None:
    """Lock the file or folder at `path` and return the lock's descriptor; None if it cannot be locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:  # renamed meanwhile, or another user's
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return descriptor  # else its owner has renamed it before it was locked here
    except BlockingIOError:
        pass  # a running process holds it
    except OSError:  # no locks on this disk, or the name has gone
        if made:
            _remove(path)
    os.close(descriptor)
    return None


def _remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _rename_to_new(part: Path, path: Path) -> bool:
    """Give `part` the name `path`; raises FileExistsError if that exists, also in a race.

    Atomic where the disk has hard links; elsewhere a killed process may leave an empty file.

    Returns:
        Whether the old name is free; else it stays beside the new one.
    """
    try:
        os.link(part, path)
        return False
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        # No hard links (FAT, some network shares): reserve the name with an empty file, then replace that.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(part, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return True


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write bytes as a file, atomically. Raises OSError."""
    with atomic_write(path) as part:
        part.path.write_bytes(content)
        part.keep()
