"""Downloads checkpoints of the catalog from the Hugging Face hub: checked, resumable, safe to interrupt.

A file is stored as `folder/<catalog name>.<suffix>`, which `find` and `match` know. Until it is checked it is
named `.<file>.<hash>.partial`, which is not listed. HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, the hub's timeouts
and proxy variables apply, as huggingface_hub reads them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from . import catalog
from .catalog import NANO, Entry
from .names import quoted

_BLOCK = 8 << 20  # bytes that are read and hashed at a time
_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's limit

Progress = Callable[[int, int], object]


class FetchError(RuntimeError):
    """A checkpoint cannot be downloaded; the message is one sentence with the reason and what to do."""


def fetch(name: str, folder: str | Path, *, progress: Progress | None = None) -> Path:
    """Download a published checkpoint, unless the folder has it already.

    Size and hash, as the hub announces them, are checked before the file gets its name. If several processes
    fetch the same file, one downloads and the others wait. After an interruption, the next call continues.

    Args:
        name: in the catalog.
        folder: where to put the file.
        progress: progress(done, total), in bytes, is called at the start, for each 10 MB (as huggingface_hub
            passes them on), and twice per second while another process downloads. Its exceptions end the
            download and are raised unchanged.

    Returns:
        The file.

    Raises:
        FetchError: it cannot be downloaded.
    """
    row = catalog.entry(name)
    if row is None:
        names = ", ".join(entry.name for entry in catalog.CATALOG)
        raise FetchError(f"Choose a name of the catalog: {quoted(name)} is none of {names}.")
    if row.repo is None:
        if NANO.is_file():
            return NANO
        raise FetchError(f"Restore {NANO} with git: {row.name} is part of this project, and not on the hub.")
    target = Path(folder, row.filename)
    if is_complete(target):
        return target
    report = progress or (lambda done, total: None)
    hub = _Hub(row)
    with _disk(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target, lambda: report(0, hub.size)):
        if not is_complete(target):
            _download(hub, target, report)
    return target


class _Hub:
    """One file on the hub: URL, size and hash. Only this class uses huggingface_hub."""

    def __init__(self, row: Entry) -> None:
        self.row, self.url = row, f"{row.repo} on the Hugging Face hub"
        with self._errors():
            from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

            self.url = hf_hub_url(row.repo, row.file)
            found = get_hf_file_metadata(self.url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            # Pinned to one version, in case a newer one appears during the download.
            self.source = hf_hub_url(row.repo, row.file, revision=found.commit_hash)
        self.size, self.hash = found.size, found.etag or ""
        if not self.size or not re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", self.hash):
            raise FetchError(
                "Check whether HF_ENDPOINT is a Hugging Face hub, or download the file by hand: the server's "
                f"answer for {self.url} names no size and hash, so the file could not be checked."
            )

    def download(self, sink: _Sink) -> None:
        """Download what the sink lacks; continue after errors as long as each try receives something."""
        with self._errors():
            from huggingface_hub.file_download import http_get
            from huggingface_hub.utils import build_hf_headers

            before = -1
            while before < sink.tell() < self.size:
                before = sink.tell()
                try:
                    with _without_bars():
                        http_get(self.source, sink, resume_size=before, headers=build_hf_headers())
                except Exception as error:  # older releases of the library do not resume by themselves
                    if _status(error) == 416:  # past the end of the file: the next fetch starts again
                        sink.truncate(0)
                    if _status(error) or sink.tell() <= before:
                        raise
                sink.seek(0, io.SEEK_END)  # hf_transfer, if it is on, does not write through the sink

    def knows(self, path: Path) -> bool:
        """Whether the file has the announced hash."""
        # Large files have a SHA-256, others git's SHA-1, which includes the length.
        hasher = hashlib.sha256() if len(self.hash) == 64 else hashlib.sha1(b"blob %d\0" % self.size)
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                hasher.update(block)
        return hasher.hexdigest() == self.hash

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert the library's errors to FetchError; ours and the caller's are unchanged."""
        try:
            yield
        except _Carried as carried:
            raise carried.error
        except ImportError as error:
            raise FetchError(f"Install the package huggingface_hub: it is missing or unusable ({error})."
                             ) from error
        except Exception as error:  # their classes depend on the library's release
            raise FetchError(self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        """The message for an error of the library."""
        if status := _status(error):
            return self._refusal(status)
        if type(error).__name__ == "OfflineModeIsEnabled":
            return (
                f"Unset HF_HUB_OFFLINE, or put the file {self.row.filename} into the folder by hand: "
                f"HF_HUB_OFFLINE is set, so {self.row.name} is not fetched."
            )
        reason = quoted(" ".join(str(error).split()))
        return (
            "Check the network, the proxy variables and HF_ENDPOINT, then try again, which continues where "
            f"this one stopped: the connection to {self.url} failed ({type(error).__name__}: {reason})."
        )

    def _refusal(self, status: int) -> str:
        """The message for an HTTP status."""
        if status in (401, 403):
            return (
                f"Accept the conditions of {self.row.repo} on its page, if it has any, and set HF_TOKEN to a "
                f"valid token of that account: the hub refuses the file (HTTP {status})."
            )
        if status == 404:
            return (
                "Look for the file by hand, or check HF_ENDPOINT: the hub has no such file (HTTP 404), "
                f"{self.url}."
            )
        if status == 416:
            return f"Try again later: the file on the server is shorter than it announced ({self.url})."
        return (f"Try again later, which continues where this one stopped: the hub answered HTTP {status} "
                f"for {self.url}.")


def _status(error: Exception) -> int | None:
    """The HTTP status in an error of the library, if it has one."""
    return getattr(getattr(error, "response", None), "status_code", None)


class _Carried(BaseException):
    """Carries an error of ours through the library, which may catch and retry any Exception."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Sink(io.FileIO):
    """The partial file that the library writes to; reports progress and refuses more bytes than announced."""

    def __init__(self, path: Path, size: int, report: Progress) -> None:
        path.touch()
        super().__init__(str(path), "r+")
        self.seek(0, io.SEEK_END)
        self.size, self.report = size, report

    def write(self, data: bytes) -> int:
        end = self.tell() + len(data)
        try:
            if end > self.size:
                self.truncate(0)
                raise FetchError(f"Try again later: the server sends more than the {self.size} bytes it "
                                 "announced.")
            with _disk(Path(self.name).parent):
                rest = memoryview(data)
                while rest:
                    rest = rest[super().write(rest) :]
            self.report(end, self.size)
        except BaseException as error:
            raise _Carried(error) from None
        return len(data)


def _download(hub: _Hub, target: Path, report: Progress) -> None:
    """Download the partial file, check it, and rename it."""
    partial = target.with_name(f".{target.name}.{hub.hash[:12]}.partial")
    with _disk(target.parent):
        for older in target.parent.glob(f".{target.name}.*.partial"):
            if older != partial:
                older.unlink()
        sink = _Sink(partial, hub.size, report)
    try:
        with sink:
            _fill(hub, sink, target)
    except BaseException:
        with _disk(target.parent):
            if not partial.stat().st_size:
                partial.unlink()
        raise
    with _disk(target.parent):
        good = hub.knows(partial)
        if good:
            os.replace(partial, target)
        else:
            partial.unlink()
    if not good:
        raise FetchError(
            "Try again, and if it happens again, look for a proxy or mirror that changes files: what "
            f"arrived as {target.name} is not what the hub announced (wrong hash), and was deleted."
        )


def _fill(hub: _Hub, sink: _Sink, target: Path) -> None:
    """Download the missing part of the partial file. Raises FetchError."""
    missing = hub.size - sink.tell()
    free = shutil.disk_usage(target.parent).free
    if free < missing:
        raise FetchError(
            f"Make room or choose another folder: {target.name} needs {missing / 1e6:.0f} MB, and "
            f"{target.parent} has only {free / 1e6:.0f} MB free."
        )
    sink.report(sink.tell(), hub.size)
    hub.download(sink)
    if (arrived := sink.tell()) < hub.size:
        raise FetchError(
            f"Try again, which continues from there: only {arrived} of {hub.size} bytes of {target.name} "
            "arrived."
        )
    with _disk(target.parent):
        os.fsync(sink.fileno())


@contextlib.contextmanager
def _lock(target: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Hold a file's lock, so that one process at a time downloads it. waiting: called every half second."""
    from filelock import FileLock, Timeout

    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            waiting()
        except NotImplementedError:  # no locks on this file system; the hash still detects a mixed file
            break
        except OSError as error:
            raise _disk_error(error, target.parent) from error
    try:
        yield
        # Only after a success: processes that wait then get this lock and find the file complete. After a
        # failure, the next process must find the same lock, or two would write to one partial file.
        with contextlib.suppress(OSError):
            path.unlink()
    finally:
        lock.release()


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Convert errors of the file system to FetchError."""
    try:
        yield
    except OSError as error:
        raise _disk_error(error, folder) from error


def _disk_error(error: OSError, folder: Path) -> FetchError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FetchError(
            f"Make room in {folder} or choose another folder, then try again, which continues where this one "
            f"stopped: no room is left ({error.strerror})."
        )
    return FetchError(f"Allow writing into {folder}, or choose another folder: {error.strerror or error}.")


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Disable the library's progress bar; the caller shows its own."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def is_complete(path: Path) -> bool:
    """Whether a file exists and is not truncated, as far as its structure shows."""
    try:
        if path.suffix != ".safetensors":
            return zipfile.is_zipfile(path)  # the archive's directory is at its end
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _MAX_HEADER_BYTES)))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        return path.stat().st_size == 8 + length + max(ends)
    except (OSError, ValueError, TypeError, AttributeError, LookupError):
        return False
