"""Find the inputs, each with the folder below OUT for its result."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from ...imaging import pictures
from ..numbered import find_frames
from ..options import CommandError, explain_missing_package
from . import places


class Input(NamedTuple):
    """A picture's place, and the folder below OUT for its result; "" is OUT itself.

    The place is a string, not a Path, as there may be millions.
    """

    place: str
    folder: str = ""


class Found(NamedTuple):
    """The pictures that the arguments name.

    Args:
        inputs: each picture once.
        several: whether OUT must be a folder (always for a folder or a list).
        left_out: (place, sentence) of each picture whose format cannot be read here, and of each broken
            link.
        others: files in the folders that are not pictures.
    """

    inputs: list[Input]
    several: bool
    left_out: list[tuple[str, str]]
    others: list[str]


def find_sources(inputs: list[str], lists: list[str], out: str) -> Found:
    """Find the pictures that the arguments name.

    Args:
        inputs: files, folders and globs, as paths or URLs; "-" is standard input. A glob's pictures keep
            their folders below its fixed part.
        lists: files for `read_list`.
        out: OUT; matches of a glob in it are not inputs.

    Raises:
        CommandError: there is no picture, or a folder or list cannot be read.
    """
    matches = [match for text in inputs for match in _expand(places.parse(text), out)]
    listed = [Input(place) for file in lists for place in read_list(places.parse(file))]
    if not matches and not listed:
        raise CommandError(f"{' '.join([*inputs, *lists])}: no file matches")
    found = Found([], len(matches) > 1 or bool(lists), [], [])
    several = found.several
    for match in matches:
        if match.place != places.STANDARD and places.is_folder(match.place):
            several = True
            _add_folder(match, found)
        else:
            found.inputs.append(match)
    found.inputs.extend(listed)
    if not found.inputs and not found.left_out:
        raise CommandError(f"{' '.join(inputs)}: contains no picture")
    first: dict[str, Input] = {}
    for one in found.inputs:
        first.setdefault(one.place, one)
    return found._replace(inputs=list(first.values()), several=several)


def read_list(file: str) -> Iterator[str]:
    """Read the places in a text file, one per line, or in a Parquet file's column `path` (or its only text
    column). Raises CommandError."""
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
    """Read the places in a Parquet file. Raises CommandError."""
    with explain_missing_package(f"--list {file}", "requirements-scale.txt"):
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
    """A listed text as a place, so that equal paths have equal texts."""
    place = places.parse(text)
    return place if places.is_url(place) else str(Path(place))


def _expand(text: str, out: str) -> list[Input]:
    """Expand a glob (** for all folders below) or numbered frames to places, without those in OUT; return any
    other text as one place."""
    if places.is_url(text):
        # "?" and "[" are common in keys and addresses, so only * makes a URL a glob.
        if "*" not in text:
            return [Input(text.rstrip("/"))]
        start = _keys(text[:text.index("*")].rpartition("/")[0])
        results = _keys(out) if places.is_url(out) else None
        found = [(match, _keys(match)) for match in places.matches(text)]
        return [Input(match, "/".join(keys[len(start):-1])) for match, keys in found
                if results is None or keys[:len(results)] != results]
    if "#" in os.path.basename(text) and not os.path.exists(text):
        return [Input(place) for place in find_frames(text)]
    if text == places.STANDARD or os.path.exists(text) or not glob.has_magic(text):
        return [Input(text if text == places.STANDARD else str(Path(text)))]
    start = Path(*takewhile(lambda part: not glob.has_magic(part), Path(text).parts))
    matches = _without_copies(sorted(glob.glob(text, recursive=True)))
    results = None if places.is_url(out) else Path(out).resolve()
    if results is not None and start.resolve() in results.parents:
        matches = [match for match in matches if not _lies_in(match, results)]
    return [Input(str(Path(match)), _below(match, start)) for match in matches]


def _keys(url: str) -> list[str]:
    """The parts of a URL after its scheme. (memory://a and memory:///a are the same place.)"""
    return [part for part in url.partition("://")[2].split("/") if part]


def _below(match: str, start: Path) -> str:
    """The folders between a glob's fixed part and a match, or the match itself if it is a folder, with "/"
    between."""
    folder = Path(match) if os.path.isdir(match) else Path(match).parent
    return "/".join(folder.relative_to(start).parts)


def _without_copies(matches: list[str]) -> list[str]:
    """Remove matches that are repeated through links to folders; keep the shortest path to each file."""
    found: dict[str, str] = {}
    for match in sorted(matches, key=lambda match: (match.count(os.sep), match)):
        folder, name = (match, "") if os.path.isdir(match) else os.path.split(match)
        found.setdefault(os.path.join(_lineage(os.path.abspath(folder))[0], name), match)
    return sorted(found.values())


def _lies_in(match: str, folder: Path) -> bool:
    """Whether a match is in a folder or below it, with links followed."""
    return folder in _lineage(os.path.abspath(match if os.path.isdir(match) else os.path.dirname(match)))


@functools.lru_cache(maxsize=1024)  # a million files lie in few folders
def _lineage(folder: str) -> tuple[Path, ...]:
    """A folder and its parents, with links followed."""
    real = Path(folder).resolve()
    return (real, *real.parents)


def _add_folder(match: Input, found: Found) -> None:
    """Add a folder's pictures, and list its other files and broken links."""
    try:
        names, broken = places.children_and_broken_links(match.place)
    except OSError as error:
        raise CommandError(f"{match.place}: cannot be listed ({error.strerror or error})") from None
    readable = pictures.suffixes()
    for name in names:
        place, suffix = places.join(match.place, name), os.path.splitext(name)[1].lower()
        if suffix in readable:
            found.inputs.append(Input(place, match.folder))
        elif reason := pictures.why_unreadable(suffix):
            found.left_out.append((place, f"{place}: {reason}"))
        else:
            found.others.append(place)
    for name, reason in broken:
        if os.path.splitext(name)[1].lower() in readable:
            place = places.join(match.place, name)
            found.left_out.append((place, f"{place}: {reason}"))
