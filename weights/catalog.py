"""The catalog of published checkpoints (catalog.json), and which of them a local file is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType

from .names import LONGEST

DEFAULT = "birefnet-nano"  # name of the included checkpoint
NANO = Path(__file__).with_name(f"{DEFAULT}.safetensors")
SELECTOR = Path(__file__).with_name("birefnet-selector.safetensors")  # for Pick Subject; mattes nothing
SUFFIXES = (".safetensors", ".pth", ".pt")
NOTHING: Mapping[Path, str] = MappingProxyType({})  # default of `registered`: no folder has another name

# File names that say nothing: the folder's name is used instead.
_PLAIN = {"model", "pytorch-model", "diffusion-pytorch-model"}
# Endings that do not distinguish checkpoints: "-epoch_244", "_fp16".
_ENDING = re.compile(r"-(epoch-\d+|fp16|fp32|bf16|f16|f32|half)$")


@dataclass(frozen=True)
class Entry:
    """One published checkpoint: a row of catalog.json. Its file is stored as its name plus the suffix."""

    name: str  # in widgets and workflows: unique, never changed
    repo: str | None  # on the Hugging Face hub; None for the included checkpoint
    file: str  # in the repository
    task: str  # what it is for, in a user's words
    size: int | tuple[int, int] | str  # network size: a square's side, (height, width), or "dynamic"
    backbone: str
    license: str
    non_commercial: bool
    normalize: str  # "imagenet" or "none"
    patch_order: str  # "colour-slowest" or "colour-fastest"
    note: str
    aliases: tuple[str, ...]  # other packs' names of the file, without suffix, or "folder/name"
    megabytes: int

    @property
    def height_width(self) -> tuple[int, int] | None:
        """The network's size in pixels; None where it follows the photograph."""
        if isinstance(self.size, int):
            return self.size, self.size
        return self.size if isinstance(self.size, tuple) else None

    @property
    def filename(self) -> str:
        """The file's name after `fetch`."""
        return self.name + PurePath(self.file).suffix


def read(path: Path) -> tuple[Entry, ...]:
    """Read all rows of a catalog file. A test checks those of the one in this folder."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Entry(**{key: tuple(value) if isinstance(value, list) else value
                          for key, value in row.items()}) for row in rows)


CATALOG = read(Path(__file__).with_name("catalog.json"))


def entry(name: str) -> Entry | None:
    """Return the row of that name, or of another pack's name for it; None if there is none.

    Case does not matter, and "-", "_" and "." are equal.
    """
    if len(name) > LONGEST:  # not a row's name, and slow to compare
        return None
    return next((row for row in CATALOG if _key(row.name) == _key(name)), None) or _NAMES.get(_key(name))


def match(path: str | Path, registered: Mapping[Path, str] = NOTHING) -> Entry | None:
    """Return the row of a file, by its name and its folder's; None for an unpublished one.

    A name is a hint. It tells what tensors do not determine: size, normalisation, patch order, task.

    Args:
        path: the file, which need not exist.
        registered: folder → another name that a host has for it, which also counts for all folders below.
    """
    path = PurePath(path)
    if path.suffix.lower() not in SUFFIXES or len(str(path)) > 4 * LONGEST:
        return None
    stem, folder = _key(path.stem), _key(path.parent.name)
    known = [folder, *(_key(name) for above, name in registered.items() if above in path.parents)]
    in_its_folder = (_NAMES.get(f"{name}/{stem}") for name in known)
    return next(filter(None, in_its_folder), None) or _NAMES.get(folder if stem in _PLAIN else stem)


def non_commercial(license: str) -> bool:
    """Whether a licence, by its name in the catalog, forbids commercial use."""
    return any(row.non_commercial and row.license == license for row in CATALOG)


def settings(source: Entry | str | Path, registered: Mapping[Path, str] = NOTHING) -> dict[str, object]:
    """Return keyword arguments for birefnet.load.

    Args:
        source: a row, a name, or a file (see `match`).
        registered: see `match`.

    Returns:
        patch_order, normalize and size; {} for an unknown file, and for the included one, whose metadata has
        them.
    """
    row = source if isinstance(source, Entry) else match(source, registered) or entry(str(source))
    if row is None or row.repo is None:
        return {}
    return {"patch_order": row.patch_order, "normalize": row.normalize, "size": row.size}


def _key(name: str) -> str:
    """Normalise a name for comparison: case, separators, and endings like "_fp16" do not count."""
    key = re.sub(r"[-_. ]+", "-", name.casefold())
    while (shorter := _ENDING.sub("", key)) != key:
        key = shorter
    return key


_NAMES = {"/".join(map(_key, name.split("/"))): row for row in CATALOG for name in (row.name, *row.aliases)}
