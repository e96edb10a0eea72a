"""The catalog: which published checkpoints there are, as data (catalog.json), and which of them a local file is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType

from .names import LONGEST, fault, quoted

NANO = Path(__file__).with_name("birefnet-nano.safetensors")
SELECTOR = Path(__file__).with_name("birefnet-selector.safetensors")  # of Pick Subject: no matting checkpoint
SUFFIXES = (".safetensors", ".pth", ".pt")
NOTHING: Mapping[Path, str] = MappingProxyType({})  # no folder has another name than it is called

# What a row's fields must look like; a name and a file's suffix together become the name of a file.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_REPO = re.compile(r"[A-Za-z0-9_.-]{1,96}/[A-Za-z0-9_.-]{1,96}")
_TEXTS = ("name", "file", "task", "backbone", "license", "normalize", "patch_order", "note")

# Names that say nothing about a file, so that its folder has to.
_PLAIN = {"model", "pytorch-model", "diffusion-pytorch-model"}
# What is appended to a name without making it another checkpoint: "-epoch_244", "_fp16".
_ENDING = re.compile(r"-(epoch-\d+|fp16|fp32|bf16|f16|f32|half)$")


@dataclass(frozen=True)
class Entry:
    """One published checkpoint: a row of catalog.json."""

    name: str  # what users pick and workflows store: unique, for ever
    repo: str | None  # on the Hugging Face hub; None: ships with this project
    file: str  # inside the repository
    task: str  # what it is for, in a user's words
    size: int | tuple[int, int] | str  # of the network: a square's side, (height, width), or "dynamic": the photo's own
    backbone: str
    license: str
    non_commercial: bool
    normalize: str  # "imagenet" or "none"
    patch_order: str  # "colour-slowest" or "colour-fastest"
    note: str
    aliases: tuple[str, ...]  # file names without suffix, or "folder/name", under which others store it
    megabytes: int

    @property
    def filename(self) -> str:
        """The name under which `fetch` stores it."""
        return self.name + PurePath(self.file).suffix


class CatalogError(ValueError):
    """A catalog file that cannot be used; the message says which row, and what was expected."""


def read(path: Path) -> tuple[Entry, ...]:
    """All rows of a catalog file, in its order. Raises `CatalogError`."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path} is no catalog: expected JSON, got {quoted(str(error))}") from None
    if not isinstance(rows, list):
        raise CatalogError(f"{path} is no catalog: expected a list of checkpoints, got {quoted(rows)}")
    return tuple(_entry(row, f"{path}, row {number}") for number, row in enumerate(rows, 1))


def _entry(row: object, place: str) -> Entry:
    """A row whose every field is of the right kind, and whose names are names of files; `place` is for the message."""
    if not isinstance(row, dict) or row.keys() != Entry.__annotations__.keys():
        raise CatalogError(f"{place}: expected the fields {', '.join(Entry.__annotations__)}, got {quoted(row)}")
    size = row["size"]
    good = {
        **{key: isinstance(row[key], str) for key in _TEXTS},
        "name": isinstance(row["name"], str) and _NAME.fullmatch(row["name"]) and not fault(row["name"], ""),
        "repo": row["repo"] is None or isinstance(row["repo"], str) and _REPO.fullmatch(row["repo"]),
        "file": isinstance(row["file"], str) and not fault(row["file"], "") and row["file"].endswith(SUFFIXES),
        "size": size == "dynamic" or _is_side(size) or (isinstance(size, list) and len(size) == 2
                                                        and all(map(_is_side, size))),
        "non_commercial": isinstance(row["non_commercial"], bool),
        "aliases": isinstance(row["aliases"], list) and all(isinstance(alias, str) for alias in row["aliases"]),
        "megabytes": _is_side(row["megabytes"]),
    }
    for key, is_good in good.items():
        if not is_good:
            raise CatalogError(f"{place}: {key} cannot be {quoted(row[key])}")
    return Entry(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 16


CATALOG = read(Path(__file__).with_name("catalog.json"))


def entry(name: str) -> Entry | None:
    """The row of that name, or of a name that another pack has for it, as workflows made with that pack hold it.

    Upper and lower case, "-", "_" and "." are not told apart.
    """
    if len(name) > LONGEST:  # nobody's, and the comparison takes its time
        return None
    return next((row for row in CATALOG if _key(row.name) == _key(name)), None) or _NAMES.get(_key(name))


def match(path: str | Path, registered: Mapping[Path, str] = NOTHING) -> Entry | None:
    """The row that a file on disk is, judged by its name and its folder's; None for a name nobody published.

    A name is only a hint, good enough for what tensors cannot tell: size, normalisation, patch order, task.
    registered: folders that a host knows by another name, which then counts for all that is below them.
    """
    path = PurePath(path)
    if path.suffix.lower() not in SUFFIXES or len(str(path)) > 4 * LONGEST:
        return None
    stem, folder = _key(path.stem), _key(path.parent.name)
    known = [folder, *(_key(name) for above, name in registered.items() if above in path.parents)]
    in_its_folder = (_NAMES.get(f"{name}/{stem}") for name in known)
    return next(filter(None, in_its_folder), None) or _NAMES.get(folder if stem in _PLAIN else stem)


def non_commercial(license: str) -> bool:
    """Whether checkpoints of this licence, named as in the catalog, are not for commercial use."""
    return any(row.non_commercial and row.license == license for row in CATALOG)


def settings(source: Entry | str | Path, registered: Mapping[Path, str] = NOTHING) -> dict[str, object]:
    """Keyword arguments for `birefnet.load` from the row of a file (as `match` judges it), a name or an entry; {} for an
    unknown file.

    Also {} for the checkpoint that ships with this project: its own metadata says all this.
    """
    row = source if isinstance(source, Entry) else match(source, registered) or entry(str(source))
    if row is None or row.repo is None:
        return {}
    return {"patch_order": row.patch_order, "normalize": row.normalize, "size": row.size}


def _key(name: str) -> str:
    """A name as it is compared: case, separators and endings like "_fp16" do not matter."""
    key = re.sub(r"[-_. ]+", "-", name.casefold())
    while (shorter := _ENDING.sub("", key)) != key:
        key = shorter
    return key


_NAMES = {"/".join(map(_key, name.split("/"))): row for row in CATALOG for name in (row.name, *row.aliases)}
