"""Finding pictures and their truths in data sets as they are published."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..pictures import suffixes
from ..refusal import Refusal

# Folder names, lower case, as DIS5K, COD10K, HRSOD, DUTS, P3M and AM-2k have them.
PICTURES = ("im", "image", "images", "img", "imgs", "original_image", "original", "blurred_image")
TRUTHS = ("gt", "gts", "mask", "masks", "gt_object", "alpha", "matte")
TRIMAPS = ("trimap", "trimaps")


class Pair(NamedTuple):
    """One picture and what should be found in it; `name` is unique in its data set and has no suffix."""

    name: str
    picture: Path
    truth: Path
    trimap: Path | None


class DataError(Refusal):
    """A data set that cannot be used; the message is one sentence."""


def find_pairs(data: Path) -> list[Pair]:
    """All pairs below `data`, in order of their names: a folder with `im/` and `gt/` (or other published names), or
    one that holds several such sets. Raises DataError where there are none, or a picture has no truth."""
    if not data.is_dir():
        raise DataError(f"{data}: expected a folder with the pictures in im/ and their masks in gt/")
    sets = [folder for folder in (data, *sorted(path for path in data.rglob("*") if path.is_dir()))
            if _folder(folder, PICTURES) and _folder(folder, TRUTHS)]
    pairs = [pair for folder in sets for pair in _pairs_of_set(data, folder)]
    if not pairs:
        raise DataError(f"{data}: no pictures with masks found; expected folders im/ and gt/ with files of the same name")
    return pairs


def _pairs_of_set(data: Path, folder: Path) -> list[Pair]:
    readable = suffixes()
    truths = {path.stem: path for path in sorted(_folder(folder, TRUTHS).iterdir()) if path.suffix.lower() in readable}
    trimaps = _folder(folder, TRIMAPS)
    by_stem = {path.stem: path for path in sorted(trimaps.iterdir())} if trimaps else {}
    pairs, lonely = [], []
    for picture in sorted(_folder(folder, PICTURES).iterdir()):
        if picture.suffix.lower() not in readable:
            continue
        if picture.stem not in truths:
            lonely.append(picture.name)
            continue
        name = (folder.relative_to(data) / picture.stem).as_posix()
        pairs.append(Pair(name, picture, truths[picture.stem], by_stem.get(picture.stem)))
    if lonely:
        shown = ", ".join(lonely[:5]) + (f" and {len(lonely) - 5} more" if len(lonely) > 5 else "")
        raise DataError(f"{folder}: no mask of the same name for {shown}")
    return pairs


def _folder(parent: Path, names: tuple[str, ...]) -> Path | None:
    """The sub-folder with the best of the names, whatever its case."""
    found = {path.name.lower(): path for path in parent.iterdir() if path.is_dir()}
    return next((found[name] for name in names if name in found), None)
