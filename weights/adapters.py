"""What users tune themselves: adapters, which lie in a folder of their own, and where a new file may go."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from . import catalog
from .find import ADAPTERS, NotFound, local
from .names import fault, quoted

_NO_NAME = re.compile(r'[<>:"|?*\ud800-\udfff]')  # in no file's name on one system or another


def local_adapters(folders: Iterable[str | Path]) -> dict[str, Path]:
    """All adapter files: those below a folder "adapters" of one of the folders, as `local` lists checkpoints."""
    return {name: path for name, path in local(Path(folder) / ADAPTERS for folder in folders).items()
            if path.suffix.lower() == ".safetensors"}


def find_adapter(name: str, folders: Iterable[str | Path]) -> Path:
    """The file of an adapter by the name that `local_adapters` lists it under.

    Nothing else is reachable. Raises `NotFound`; the message says where it was looked for and what to do.
    """
    places = [Path(folder) / ADAPTERS for folder in folders]
    files = local_adapters(folders)
    if path := files.get(name.replace("\\", "/")):
        return path
    close = difflib.get_close_matches(name, files, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    scanned = "; ".join(f"{place}{'' if place.is_dir() else ' (does not exist)'}" for place in places) or "none"
    target = places[0] if places else f"models/BiRefNet/{ADAPTERS}"
    raise NotFound(f"Put the file (.safetensors) into {target}, or choose none. No adapter {quoted(name)} is there."
                   f"{hint} Folders scanned: {scanned}.")


def new_file(name: str, folder: str | Path) -> Path:
    """Where to write a new .safetensors file of a name such as "cracks" or "walls/cracks" below a folder.

    No old file is written over: where the name is taken, it gets a number. Raises ValueError for a name that leads out
    of the folder, or that not every system could store.
    """
    return _free(_wanted(name, folder))


def new_checkpoint(name: str, folder: str | Path) -> Path:
    """`new_file` for a checkpoint, which may not take a published one's place in workflows.

    Raises ValueError also for a name by which a file would be taken for a published checkpoint.
    """
    path = _wanted(name, folder)
    if row := catalog.match(path):
        raise ValueError(f"nothing can be saved as {quoted(name)}: every workflow that asks for the published checkpoint "
                         f"{row.name} would take it for that; expected a name of your own, such as 'cracks'")
    return _free(path)


def _wanted(name: str, folder: str | Path) -> Path:
    """The file of that name, there already or not."""
    clean = name.strip().replace("\\", "/").removesuffix(".safetensors")
    parts, wrong = clean.split("/"), fault(clean, str(folder))
    if wrong or _NO_NAME.search(clean) or any(not part or part[0] in ". " or part.lower() == ADAPTERS for part in parts):
        raise ValueError(f"nothing can be saved as {quoted(name)}{': it ' + wrong if wrong else ''}; expected a name such "
                         f"as 'cracks' or 'walls/cracks', which goes into {folder}")
    return Path(folder, *parts[:-1], f"{parts[-1]}.safetensors")


def _free(path: Path) -> Path:
    """The path, with a number where it is taken."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}.safetensors")
    return free
