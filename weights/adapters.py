"""Finds users' adapters, and chooses names for new adapters and checkpoints."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from . import catalog
from .lookup import ADAPTERS, NotFound, list_local
from .names import fault, quoted

_FORBIDDEN = re.compile(r'[<>:"|?*\ud800-\udfff]')  # characters that some system does not allow in names


def local_adapters(folders: Iterable[str | Path]) -> dict[str, Path]:
    """Return all adapters in the folders' subfolders "adapters": name → file, as `local` does."""
    return {name: path for name, path in list_local(Path(folder) / ADAPTERS for folder in folders).items()
            if path.suffix.lower() == ".safetensors"}


def find_adapter(name: str, folders: Iterable[str | Path]) -> Path:
    """Return the file of an adapter, by its name in `local_adapters`; no other file can be reached.

    Raises:
        NotFound: there is none; the message says what to do and which folders were scanned.
    """
    places = [Path(folder) / ADAPTERS for folder in folders]
    files = local_adapters(folders)
    if path := files.get(name.replace("\\", "/")):
        return path
    close = difflib.get_close_matches(name, files, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    scanned = "; ".join(f"{place}{'' if place.is_dir() else ' (does not exist)'}"
                        for place in places) or "none"
    target = places[0] if places else f"models/BiRefNet/{ADAPTERS}"
    raise NotFound(f"Put the file (.safetensors) into {target}, or choose none. No adapter {quoted(name)} is "
                   f"there.{hint} Folders scanned: {scanned}.")


def new_file(name: str, folder: str | Path) -> Path:
    """Return a path for a new .safetensors file below a folder; if it exists, a number is added to the name.

    Args:
        name: such as "cracks" or "walls/cracks".
        folder: where to save.

    Raises:
        ValueError: the name leads out of the folder, or some system does not allow it.
    """
    return _free(_wanted(name, folder))


def new_checkpoint(name: str, folder: str | Path) -> Path:
    """`new_file` for a checkpoint.

    Raises:
        ValueError: as `new_file`, and for a name that workflows use for a published checkpoint.
    """
    path = _wanted(name, folder)
    if row := catalog.match(path):
        raise ValueError("Choose a name of your own, such as 'cracks': a workflow that asks for the "
                         f"published checkpoint {row.name} would load {quoted(name)} instead.")
    return _free(path)


def _wanted(name: str, folder: str | Path) -> Path:
    """Return the file of that name, which may exist. Raises ValueError."""
    clean = name.strip().replace("\\", "/").removesuffix(".safetensors")
    parts, wrong = clean.split("/"), fault(clean, str(folder))
    hidden = any(not part or part[0] in ". " or part.lower() == ADAPTERS for part in parts)
    if wrong or hidden or _FORBIDDEN.search(clean):
        raise ValueError(f"Choose a name such as 'cracks' or 'walls/cracks', which goes into {folder}: "
                         f"nothing can be saved as {quoted(name)}{', because it ' + wrong if wrong else ''}.")
    return Path(folder, *parts[:-1], f"{parts[-1]}.safetensors")


def _free(path: Path) -> Path:
    """Return the path, with a number in its name if the file exists."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}.safetensors")
    return free
