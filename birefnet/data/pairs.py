"""Find pictures and their true masks in data sets as they are published."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..files.errors import UserError, join_names
from ..imaging.pictures import suffixes

# Folder names, in lower case, of DIS5K, COD10K, HRSOD, DUTS, P3M and AM-2k.
PICTURES = ("im", "image", "images", "img", "imgs", "original_image", "original", "blurred_image")
TRUTHS = ("gt", "gts", "mask", "masks", "gt_object", "alpha", "matte")
TRIMAPS = ("trimap", "trimaps")


class Pair(NamedTuple):
    """One picture and its true mask; `name` has no suffix and is unique in a result of `find_pairs`."""

    name: str
    picture: Path
    truth: Path
    trimap: Path | None


class DataError(UserError):
    """A data set that cannot be used; the message is one sentence."""


class Found(NamedTuple):
    """A data set: its pairs in order of their names, and the pictures and masks without a partner."""

    pairs: list[Pair]
    unpaired_pictures: list[Path]
    unpaired_truths: list[Path]


def find_pairs(data: Path) -> list[Pair]:
    """Find all pairs of a data set; every picture needs a mask of its own.

    Raises:
        DataError: there are no pairs, a picture has no mask, or two pictures share one.
    """
    found = scan_data_set(data)
    unpaired = [path.name for path in found.unpaired_pictures]
    if unpaired:
        raise DataError(f"{found.unpaired_pictures[0].parent.parent}: no mask of the same name for "
                        f"{join_names(unpaired, 5)}")
    if not found.pairs:
        raise DataError(f"{data}: no pictures with masks found; expected folders im/ and gt/ with files of "
                        "the same name")
    by_name = {}
    for pair in found.pairs:
        twin = by_name.setdefault(pair.name, pair)
        if twin is not pair:
            raise DataError(f"{pair.picture.parent}: {twin.picture.name} and {pair.picture.name} share the "
                            f"mask {pair.truth.name}; keep one of them, or give each its own mask and name")
    return found.pairs


def scan_data_set(data: Path) -> Found:
    """Find everything in a folder with `im/` and `gt/` (or other published names), or in one that holds
    several such sets.

    Raises:
        DataError: `data` is no folder.
    """
    if not data.is_dir():
        raise DataError(f"{data}: expected a folder with the pictures in im/ and their masks in gt/")
    sets = [folder for folder in (data, *sorted(path for path in data.rglob("*") if path.is_dir()))
            if not is_hidden(folder, data) and _folder(folder, PICTURES) and _folder(folder, TRUTHS)]
    found = Found([], [], [])
    for folder in sets:
        for total, part in zip(found, _scan_folder(data, folder)):
            total.extend(part)
    return found


def _scan_folder(data: Path, folder: Path) -> Found:
    """`scan_data_set` of one folder with pictures and masks; names are relative to `data`."""
    truths = {path.stem: path for path in _picture_files(_folder(folder, TRUTHS))}
    trimaps = _folder(folder, TRIMAPS)
    by_stem = {path.stem: path for path in sorted(trimaps.iterdir())} if trimaps else {}
    found, seen = Found([], [], []), set()
    for picture in _picture_files(_folder(folder, PICTURES)):
        seen.add(picture.stem)
        if picture.stem not in truths:
            found.unpaired_pictures.append(picture)
            continue
        name = (folder.relative_to(data) / picture.stem).as_posix()
        found.pairs.append(Pair(name, picture, truths[picture.stem], by_stem.get(picture.stem)))
    found.unpaired_truths.extend(path for stem, path in truths.items() if stem not in seen)
    return found


def _picture_files(folder: Path) -> list[Path]:
    readable = suffixes()
    return [path for path in sorted(folder.iterdir())
            if path.suffix.lower() in readable and not is_hidden(path, folder)]


def is_hidden(path: Path, below: Path) -> bool:
    """Whether a path has a hidden part below the folder `below`, or one that macOS adds to zip files
    (`._cat.jpg`, `__MACOSX/`)."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(below).parts)


def _folder(parent: Path, names: tuple[str, ...]) -> Path | None:
    """The sub-folder that has the first possible name, regardless of case; None if there is none."""
    found = {path.name.lower(): path for path in parent.iterdir() if path.is_dir()}
    return next((found[name] for name in names if name in found), None)
