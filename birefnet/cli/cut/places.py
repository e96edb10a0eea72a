"""Files on this machine and in object stores (`s3://bucket/key` and all other schemes of fsspec).

A place is a string: a path or a URL. Writes are atomic.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ...imaging import pictures
from ..options import CommandError

STANDARD = "-"  # standard input, standard output
# In these a put is atomic and a rename is a copy; elsewhere, files are written as temporary ones and renamed.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "r2"}
WEB = {"http", "https"}
# Fields of a store's listing that change with the file.
STAMP_KEYS = ("LastModified", "mtime", "created", "ETag")


def parse(text: str) -> str:
    """Convert a user's text to a place: file:// URLs become paths."""
    return url2pathname(text[len("file://"):]) if text.startswith("file://") else text


def is_url(place: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place) is not None


def absolute(place: str) -> str:
    """The place, independent of the working directory."""
    return place if is_url(place) or place == STANDARD else os.path.abspath(place)


def join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)


def below(place: str, folder: str) -> str:
    """A place's name below a folder that it is in, with "/" between the parts."""
    if is_url(place):
        return place.removeprefix(f"{folder.rstrip('/')}/")
    start = os.path.join(folder, "")
    inside = place[len(start):] if place.startswith(start) else os.path.relpath(place, folder)
    return inside.replace(os.sep, "/")


def parent(place: str) -> str:
    return place.rpartition("/")[0] if is_url(place) else os.path.dirname(place)


def name(place: str) -> str:
    """The last part ("a.jpg" of "s3://photos/2024/a.jpg"), without a web address's query."""
    if is_url(place):
        return (urlsplit(place).path if scheme(place) in WEB else place).rpartition("/")[2]
    return os.path.basename(place)


def scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def read(place: str) -> bytes:
    """Read the whole content. Raises OSError."""
    if place == STANDARD:
        return sys.stdin.buffer.read()
    if not is_url(place):
        with open(place, "rb") as file:
            return file.read()
    files, path = file_system(place)
    with as_os_errors(place):
        return files.cat_file(path)


def write(place: str, content: bytes, *, force: bool = False) -> None:
    """Write the content atomically; missing folders are made.

    Args:
        place: a path, a URL, or STANDARD for standard output.
        content: the bytes.
        force: replace an existing file. Otherwise an existing file with the same content counts as written,
            so that a process that was killed after writing can be repeated.

    Raises:
        FileExistsError: a file with other content exists, and not `force`.
        OSError: it cannot be written.
    """
    try:
        if place == STANDARD:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        elif is_url(place):
            _write_url(place, content, force)
        else:
            pictures.write_file(place, content, force=force)
    except FileExistsError:
        if read(place) != content:
            raise


def _write_url(place: str, content: bytes, force: bool) -> None:
    """Write a URL's content atomically. Raises OSError."""
    files, path = file_system(place)
    with as_os_errors(place):
        if not force and files.exists(path):
            raise FileExistsError(place)
        if scheme(place) in OBJECT_STORES:
            # "create": the store refuses if another machine has created the name meanwhile.
            files.pipe_file(path, content, mode="overwrite" if force else "create")
            return
        files.makedirs(parent(path), exist_ok=True)
        part = f"{parent(path)}/.{secrets.token_hex(8)}.part"
        try:
            files.pipe_file(part, content)
            files.mv(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                files.rm_file(part)
            raise


def remove(place: str) -> None:
    """Remove a file. Raises OSError."""
    if is_url(place):
        files, path = file_system(place)
        with as_os_errors(place):
            files.rm_file(path)
    else:
        os.unlink(place)


def changed(place: str) -> int:
    """When a local file was last changed, in ns; 0 if there is none, and for URLs, which would need a request
    each."""
    if is_url(place):
        return 0
    try:
        return os.stat(place).st_mtime_ns
    except OSError:
        return 0


def listing(folder: str) -> dict[str, str]:
    """The files in a folder by name, each with a stamp that changes when the file is replaced.

    {} if there is no such folder. Hidden files are left out.
    """
    found = {}
    if not is_url(folder):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and _is_file(entry):
                        info = entry.stat()
                        found[entry.name] = f"{info.st_mtime_ns}-{info.st_ino}"
        except (FileNotFoundError, NotADirectoryError):
            pass
        return found
    files, path = file_system(folder)
    with contextlib.suppress(FileNotFoundError), as_os_errors(folder):
        for info in files.ls(path, detail=True):
            base = info["name"].rpartition("/")[2]
            if info["type"] == "file" and base and not base.startswith("."):
                found[base] = "-".join(str(info.get(key, "")) for key in STAMP_KEYS)
    return found


def _is_file(entry: os.DirEntry) -> bool:
    """Whether an entry is a file, with links followed."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def children_and_broken_links(folder: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Sorted names of the files in a folder, without hidden ones, and (name, reason) of each broken link."""
    if is_url(folder):
        return sorted(listing(folder)), []
    names, broken = [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_symlink():  # other files need no access to the disk
                    os.stat(entry.path)
            except OSError as error:
                broken.append((entry.name, f"a link that leads nowhere ({error.strerror})"))
                continue
            if entry.is_file():
                names.append(entry.name)
    return names, broken


def is_folder(place: str) -> bool:
    """Whether a place is a folder or a store's prefix; web addresses never are. Raises OSError."""
    if not is_url(place):
        return os.path.isdir(place)
    if scheme(place) in WEB:
        return False
    files, path = file_system(place)
    with as_os_errors(place):
        return files.isdir(path)


def exists(place: str) -> bool:
    """Whether a file, a folder or a link has that name."""
    if not is_url(place):
        return os.path.lexists(place)
    files, path = file_system(place)
    with as_os_errors(place):
        return files.exists(path)


def matches(pattern: str) -> list[str]:
    """Sorted URLs of the files that match a URL with a glob."""
    files, path = file_system(pattern)
    with as_os_errors(pattern):
        return sorted(files.unstrip_protocol(match) for match, info in files.glob(path, detail=True).items()
                      if info["type"] == "file")


def file_system(url: str):
    """The fsspec file system of a URL, and the path in it. Its library finds keys and endpoints as usual.

    Raises:
        CommandError: the scheme is unknown, or its package is missing.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url, **({} if scheme(url) in WEB else {"use_listings_cache": False}))
    except ImportError as error:
        raise CommandError(f"{url}: {error}; pip install -r requirements-scale.txt has it for S3") from None
    except ValueError as error:
        raise CommandError(f"{url}: {error}") from None


@contextlib.contextmanager
def as_os_errors(place: str):
    """Convert errors of stores' libraries (botocore, aiohttp, ...) to OSErrors that name the place."""
    try:
        yield
    except (OSError, CommandError):
        raise
    except Exception as error:
        raise OSError(f"{place}: {' '.join(str(error).split())}") from None
