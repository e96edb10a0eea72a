"""Finds checkpoints on this machine, under whatever name and in whichever folder they are."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from . import catalog, names
from .catalog import NANO, NOTHING, SUFFIXES

# The folders under ComfyUI's models/ that this and other packs fill; the first is where this one puts what it fetches.
FOLDERS = ("BiRefNet", "birefnet", "background_removal", "RMBG/BiRefNet", "RMBG/RMBG-2.0")
ADAPTERS = "adapters"  # the folder inside any of those that holds adapters, which are no checkpoints


class NotFound(FileNotFoundError):
    """No checkpoint of that name; the message lists the folders that were scanned and what to do."""


def folders() -> tuple[Path, ...]:
    """Where the command line looks, best first: the models of the ComfyUI around this clone, else the clone's `models`.

    The first is where `fetch` puts a file. Inside ComfyUI the host's own list is used instead: it knows
    extra_model_paths.yaml.
    """
    clone = Path(__file__).absolute().parent.parent
    if clone.parent.name == "custom_nodes":
        return tuple(clone.parent.parent / "models" / name for name in FOLDERS)
    return (clone / "models",)


def local(folders: Iterable[str | Path]) -> dict[str, Path]:
    """All checkpoint files under the folders: name relative to its folder (with "/") → file, sorted by name.

    Symbolic links are followed. Where two folders have the same relative name, the first folder's file is meant.
    Hidden files and folders (".cache") are left out, and so is what is below a folder "adapters"; folders that are
    missing or cannot be read count as empty.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for name, path in _scan(Path(folder)):
            found.setdefault(name, path)
    return dict(sorted(found.items()))


def find(name: str, folders: Iterable[str | Path], *, registered: Mapping[Path, str] = NOTHING,
         allow_paths: bool = False) -> Path:
    """The file of a checkpoint, by its relative name under one of the folders or by its name in the catalog.

    A catalog name finds the file under any name that other packs give it, as `match` knows it, also by the names under
    which folders are `registered`; and "birefnet-nano" the one that ships here.
    `allow_paths=True` (the command line) also takes the path of any file. Without it (a workflow, which may come from
    anybody) nothing outside the folders is reachable: a name that `names.fault` finds fault with raises `NotFound`.
    Also raises `NotFound` for a name that is nowhere; the message says where it was looked for and what to do.
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
    files = local(folders)
    by_case = {relative.casefold(): path for relative, path in reversed(files.items())}
    if path := files.get(wanted) or by_case.get(wanted.casefold()):
        return path
    if row is not None:
        # The folders in their order, and a safetensors file rather than a pickle.
        for folder in folders:
            copies = [path for _, path in _scan(folder) if catalog.match(path, registered) is row]
            if copies:
                return min(copies, key=lambda path: (path.suffix.lower() != ".safetensors", str(path)))
    raise NotFound(_advice(name, row, folders, files))


def _scan(folder: Path) -> Iterator[tuple[str, Path]]:
    """(relative name, file) of every checkpoint below a folder."""
    for path in _walk(folder, frozenset()):
        relative = path.relative_to(folder).as_posix()
        if not any("\ud800" <= letter <= "\udfff" for letter in relative):  # bytes that no workflow could store
            yield relative, path


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Checkpoint files, depth first; `above`: the real folders we are in, where a link may lead back to."""
    real = os.path.realpath(folder)
    try:
        children = [] if real in above else sorted(os.scandir(folder), key=lambda child: child.name)
    except OSError:  # missing or unreadable; `_state` tells the user where it matters
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
    """What `NotFound` says: what was looked for, where, and what to do."""
    scanned = "; ".join(f"{folder}{_state(folder)}" for folder in folders) or "none"
    if row is not None:
        return (
            f"Set 'download' in the loader to 'when missing', or run `python -m birefnet fetch {row.name}`: the "
            f"checkpoint {row.name} ({row.megabytes} MB, {row.license}) is not on this machine. Or download {row.file} "
            f"from {row.repo} on the Hugging Face hub and put it into {_target(folders)} as {row.filename}. Folders "
            f"scanned: {scanned}."
        )
    known = [*files, *(entry.name for entry in catalog.CATALOG)]
    close = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"Put the file ({', '.join(SUFFIXES)}) into {_target(folders)}, or choose birefnet-nano, which needs no "
        f"download. No checkpoint {names.quoted(name)} is a file in the folders or a name of the catalog.{hint} "
        f"Folders scanned: {scanned}."
    )


def _state(folder: Path) -> str:
    """What is wrong with a folder, for the list in a message."""
    if not folder.is_dir():
        return " (does not exist)"
    try:
        os.listdir(folder)
    except OSError as error:
        return f" (cannot be read: {error.strerror})"
    return ""


def _target(folders: list[Path]) -> Path | str:
    return folders[0] if folders else "models/BiRefNet"
