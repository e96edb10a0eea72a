"""Files on this machine and in object stores (`s3://bucket/key` and every other scheme of fsspec), by one set of verbs.

A place is a string: a path, or a URL. What is written there appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ...imaging import pictures
from ..options import CommandError

# Where a put is one step, and a rename a copy; other file systems get a temporary name and a rename.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "r2"}
WEB = {"http", "https"}


def place(text: str) -> str:
    """What somebody typed as a place: file:// URLs are paths."""
    return url2pathname(text[len("file://"):]) if text.startswith("file://") else text


def is_url(place: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place) is not None


def absolute(place: str) -> str:
    """The same place from every working directory."""
    return place if is_url(place) else os.path.abspath(place)


def join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)


def parent(place: str) -> str:
    return place.rpartition("/")[0] if is_url(place) else os.path.dirname(place)


def name(place: str) -> str:
    """The last part: "a.jpg" of "s3://photos/2024/a.jpg"; a web address's query is no part of it."""
    if is_url(place):
        return (urlsplit(place).path if scheme(place) in WEB else place).rpartition("/")[2]
    return os.path.basename(place)


def scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def read(place: str) -> bytes:
    """The whole content; raises OSError."""
    if not is_url(place):
        with open(place, "rb") as file:
            return file.read()
    files, path = opened(place)
    with as_os_errors(place):
        return files.cat_file(path)


def write(place: str, content: bytes, *, force: bool = False) -> None:
    """Puts the content there, whole or not at all; missing folders are made.

    Raises FileExistsError where something else is there, unless `force`: the same content counts as written, so that
    who was killed after writing can write again. Raises another OSError where the place refuses.
    """
    try:
        if is_url(place):
            _write_url(place, content, force)
        else:
            pictures.write_file(place, content, force=force)
    except FileExistsError:
        if read(place) != content:
            raise


def _write_url(place: str, content: bytes, force: bool) -> None:
    files, path = opened(place)
    with as_os_errors(place):
        if not force and files.exists(path):
            raise FileExistsError(place)
        if scheme(place) in OBJECT_STORES:
            # "create" lets the store refuse where another machine has put the same name in between.
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
    if is_url(place):
        files, path = opened(place)
        with as_os_errors(place):
            files.rm_file(path)
    else:
        os.unlink(place)


def changed(place: str) -> int:
    """When a file on this machine was last changed, in ns; 0 for URLs, each of which would cost a question, and where
    nothing is."""
    if is_url(place):
        return 0
    try:
        return os.stat(place).st_mtime_ns
    except OSError:
        return 0


def listing(folder: str) -> dict[str, str]:
    """The files in a folder by name, each with a stamp that is another one after the file was replaced.

    {} where there is no such folder. Hidden files are left out.
    """
    found = {}
    if not is_url(folder):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.is_file():
                        told = entry.stat()
                        found[entry.name] = f"{told.st_mtime_ns}-{told.st_ino}"
        except (FileNotFoundError, NotADirectoryError):
            pass
        return found
    files, path = opened(folder)
    with contextlib.suppress(FileNotFoundError), as_os_errors(folder):
        for told in files.ls(path, detail=True):
            base = told["name"].rpartition("/")[2]
            if told["type"] == "file" and base and not base.startswith("."):
                found[base] = "-".join(str(told.get(key, "")) for key in ("LastModified", "mtime", "created", "ETag"))
    return found


def children(folder: str) -> list[str]:
    """Sorted names of the files in a folder or below a prefix; hidden ones are left out."""
    if is_url(folder):
        return sorted(listing(folder))
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())


def is_folder(place: str) -> bool:
    if not is_url(place):
        return os.path.isdir(place)
    if scheme(place) in WEB:
        return False
    files, path = opened(place)
    with as_os_errors(place):
        return files.isdir(path)


def exists(place: str) -> bool:
    """Whether a file, a folder or a link has that name."""
    if not is_url(place):
        return os.path.lexists(place)
    files, path = opened(place)
    with as_os_errors(place):
        return files.exists(path)


def matches(pattern: str) -> list[str]:
    """Sorted URLs that a URL's glob means, files only."""
    files, path = opened(pattern)
    with as_os_errors(pattern):
        return sorted(files.unstrip_protocol(match) for match, told in files.glob(path, detail=True).items()
                      if told["type"] == "file")


def opened(url: str):
    """The file system of a URL, and the path in it. Keys and endpoints come from where its library looks for them."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(url, **({} if scheme(url) in WEB else {"use_listings_cache": False}))
    except ImportError as error:
        raise CommandError(f"{url}: {error}; pip install -r requirements-scale.txt has it for S3") from None
    except ValueError as error:
        raise CommandError(f"{url}: {error}") from None


@contextlib.contextmanager
def as_os_errors(place: str):
    """The errors of stores' libraries (botocore's, aiohttp's, ...) as OSErrors that name the place."""
    try:
        yield
    except (OSError, CommandError):
        raise
    except Exception as error:
        raise OSError(f"{place}: {' '.join(str(error).split())}") from None
