"""What the command's arguments mean: the pictures, as strings, for there may be millions of them."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from ...imaging import pictures
from ..options import CommandError, needing
from . import places


def find_sources(inputs: list[str], lists: list[str], out: str) -> tuple[list[str], bool]:
    """The pictures that the arguments mean, each once, and whether they count as several (a folder, a list always do).

    inputs: files, folders and globs, here or as URLs. lists: files that `read_list` reads. What lies in `out` below a
    glob is no input. Raises `CommandError` where there is nothing.
    """
    found = [match for text in inputs for match in _expand(places.place(text), out)]
    listed = [place for file in lists for place in read_list(places.place(file))]
    if not found and not listed:
        raise CommandError(f"{' '.join([*inputs, *lists])}: no file matches")
    sources: list[str] = []
    several = len(found) > 1 or bool(lists)
    for place in found:
        if places.is_folder(place):
            several = True
            sources.extend(_pictures_in(place))
        else:
            sources.append(place)
    sources += listed
    if not sources:
        raise CommandError(f"{' '.join(inputs)}: no picture in there")
    return list(dict.fromkeys(sources)), several


def read_list(file: str) -> Iterator[str]:
    """The places that a text file names, one a line, or a Parquet file in its column `path` or its only one of text."""
    try:
        content = places.read(file)
    except OSError as error:
        raise CommandError(f"--list {file}: cannot be read ({error.strerror or error})") from None
    if file.lower().endswith(".parquet"):
        return (_normal(place) for place in _column(file, content))
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise CommandError(f"--list {file}: expected text in UTF-8, one path or URL a line, or a .parquet "
                           "file") from None
    return (_normal(line.strip()) for line in lines if line.strip())


def _column(file: str, content: bytes) -> Iterator[str]:
    with needing(f"--list {file}", "requirements-scale.txt"):
        import pyarrow
        import pyarrow.parquet
    try:
        table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        texts = [field.name for field in table.schema_arrow
                 if pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)]
        column = "path" if "path" in texts else texts[0] if len(texts) == 1 else None
        if column is not None:
            return (place for batch in table.iter_batches(columns=[column])
                    for place in batch.column(0).to_pylist() if place)
    except pyarrow.ArrowException as error:
        raise CommandError(f"--list {file}: expected a Parquet file ({error})") from None
    raise CommandError(f"--list {file}: expected a column `path`, or one of text only; its columns are "
                       f"{', '.join(table.schema_arrow.names)}")


def _normal(text: str) -> str:
    place = places.place(text)
    return place if places.is_url(place) else str(Path(place))


def _expand(text: str, out: str) -> list[str]:
    """A place, or the sorted matches of a glob (** for all folders below) less what lies in OUT, if OUT is below it."""
    if places.is_url(text):
        # "?" and "[" are common in keys and addresses: * alone makes a URL a glob.
        matches = places.matches(text) if "*" in text else [text.rstrip("/")]
        return [match for match in matches if not match.startswith(f"{out.rstrip('/')}/")] if "*" in text else matches
    if os.path.exists(text) or not glob.has_magic(text):
        return [str(Path(text))]
    matches = sorted(glob.glob(text, recursive=True))
    start = Path(*takewhile(lambda part: not glob.has_magic(part), Path(text).parts)).resolve()
    results = None if places.is_url(out) else Path(out).resolve()
    if results is None or start not in results.parents:
        return [str(Path(match)) for match in matches]
    return [str(Path(match)) for match in matches if not _lies_in(match, results)]


def _lies_in(match: str, folder: Path) -> bool:
    return folder in _lineage(match if os.path.isdir(match) else os.path.dirname(match))


@functools.lru_cache(maxsize=1024)  # a million files lie in few folders
def _lineage(folder: str) -> tuple[Path, ...]:
    real = Path(folder).resolve()
    return (real, *real.parents)


def _pictures_in(folder: str) -> Iterator[str]:
    try:
        names = places.children(folder)
    except OSError as error:
        raise CommandError(f"{folder}: cannot be listed ({error.strerror or error})") from None
    readable = pictures.suffixes()
    return (places.join(folder, name) for name in names if os.path.splitext(name)[1].lower() in readable)
