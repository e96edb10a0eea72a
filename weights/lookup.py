"""Finds checkpoints on this machine, also under other packs' names and in their folders."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from . import catalog, names
from .catalog import NANO, NOTHING, SUFFIXES

# Folders under ComfyUI's models/ of this and other packs; downloads go into the first.
FOLDERS = ("BiRefNet", "birefnet", "background_removal", "RMBG/BiRefNet", "RMBG/RMBG-2.0")
ADAPTERS = "adapters"  # subfolder of any of them, for adapters


class NotFound(FileNotFoundError):
    """There is no checkpoint of that name; the message says what to do and which folders were scanned."""


def folders() -> tuple[Path, ...]:
    """Return the folders for the command line: those of the ComfyUI around this clone, else its `models`.

    Downloads go into the first. Nodes use the host's list instead, which includes extra_model_paths.yaml.
    """
    clone = Path(__file__).absolute().parent.parent
    if clone.parent.name == "custom_nodes":
        return tuple(clone.parent.parent / "models" / name for name in FOLDERS)
    return (clone / "models",)


def list_local(folders: Iterable[str | Path]) -> dict[str, Path]:
    """Return all checkpoint files in the folders, sorted by name.

    Symbolic links are followed. Hidden files and folders, folders "adapters", and folders that are missing or
    not readable are skipped.

    Args:
        folders: searched with their subfolders.

    Returns:
        Name relative to the folder, with "/" → file. The first folder with a name takes precedence.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for name, path in _scan(Path(folder)):
            found.setdefault(name, path)
    return dict(sorted(found.items()))


def find(name: str, folders: Iterable[str | Path], *, registered: Mapping[Path, str] = NOTHING,
         allow_paths: bool = False) -> Path:
    """Return the file of a checkpoint.

    Args:
        name: a name of `local`, or of the catalog, which also finds files under other packs' names (see
            `match`); "birefnet-nano" is the included one.
        folders: where to search.
        registered: see `match`.
        allow_paths: whether name may also be the path of any file, as on the command line. Workflows are not
            trusted, so nodes reach only files in the folders.

    Raises:
        NotFound: there is none; the message says what to do and which folders were scanned.
    """
    if allow_paths and "\0" not in name and os.path.isfile(file := os.path.expanduser(name)):
        return Path(file)
    folders = [Path(folder) for folder in folders]
    row = catalog.entry(name)
    if row is not None and row.repo is None:
        if NANO.is_file():
            return NANO
        raise NotFound(f"Restore {NANO} with git, or clone again: it is part of this project, and missing.")
    wanted = name.replace("\\", "/")
    if fault := names.fault(name, "the models folders, where a workflow may not read"):
        raise NotFound(
            f"Put the file into {_target(folders)} and choose it by its name there: the checkpoint's name "
            f"{names.quoted(name)} {fault}."
        )
    files = list_local(folders)
    by_case = {relative.casefold(): path for relative, path in reversed(files.items())}
    if path := files.get(wanted) or by_case.get(wanted.casefold()):
        return path
    if row is not None:
        # In the folders' order; a safetensors file is preferred to a pickle.
        for folder in folders:
            copies = [path for _, path in _scan(folder) if catalog.match(path, registered) is row]
            if copies:
                return min(copies, key=lambda path: (path.suffix.lower() != ".safetensors", str(path)))
    raise NotFound(_advice(name, row, folders, files))


def _scan(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (relative name, file) for each checkpoint in a folder and its subfolders."""
    for path in _walk(folder, frozenset()):
        relative = path.relative_to(folder).as_posix()
        # Surrogates stand for bytes that are not UTF-8: workflows cannot store such a name.
        if not any("\ud800" <= letter <= "\udfff" for letter in relative):
            yield relative, path


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Yield checkpoint files depth first. above: real paths of the parent folders, against loops of links."""
    real = os.path.realpath(folder)
    try:
        children = [] if real in above else sorted(os.scandir(folder), key=lambda child: child.name)
    except OSError:  # missing or not readable: `_state` reports it
        return
    for child in children:
        if child.name.startswith("."):
            continue
        if child.is_dir():
            if child.name.lower() == ADAPTERS:
                continue
            yield from _walk(Path(child.path), above | {real})
        elif child.is_file() and Path(child.name).suffix.lower() in SUFFIXES:
            yield Path(child.path)


def _advice(name: str, row: catalog.Entry | None, folders: list[Path], files: dict[str, Path]) -> str:
    """The message of NotFound."""
    scanned = "; ".join(f"{folder}{_state(folder)}" for folder in folders) or "none"
    if row is not None:
        return (
            f"Set 'download' in the loader to 'when missing', or run `python -m birefnet fetch {row.name}`: "
            f"the checkpoint {row.name} ({row.megabytes} MB, {row.license}) is not on this machine. Or "
            f"download {row.file} from {row.repo} on the Hugging Face hub and put it into {_target(folders)} "
            f"as {row.filename}. Folders scanned: {scanned}."
        )
    known = [*files, *(entry.name for entry in catalog.CATALOG)]
    close = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"Put the file ({', '.join(SUFFIXES)}) into {_target(folders)}, or choose birefnet-nano, which needs "
        f"no download. No checkpoint {names.quoted(name)} is a file in the folders or a name of the "
        f"catalog.{hint} Folders scanned: {scanned}."
    )


def _state(folder: Path) -> str:
    """What is wrong with a folder, for the message's list of folders; "" if nothing is."""
    if not folder.is_dir():
        return " (does not exist)"
    try:
        os.listdir(folder)
    except OSError as error:
        return f" (cannot be read: {error.strerror})"
    return ""


def _target(folders: list[Path]) -> Path | str:
    return folders[0] if folders else "models/BiRefNet"
