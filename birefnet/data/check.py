"""Find bad data before the first step: every picture and mask is decoded once, and what is wrong is listed.

16-bit, 1-bit and grey palette masks are accepted. Rejected are:
files without a partner of the same name, two pictures that share one mask, damaged files, a mask of another
size than its picture (both upright), colours or transparency in a mask, masks of labels (0 and 1 of 255)
instead of levels, full masks, and masks that look inverted. An empty mask is a picture without a subject
(COD10K has them), which teaches a network to return an empty matte; those are counted.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from ..files.atomic import atomic_write_bytes
from ..files.hashing import sha256
from ..imaging import pictures
from .pairs import Pair, scan_data_set

COLOUR_SPREAD = 0.1    # of a pixel's channels, 0..1: a larger one is a colour, not compression noise
COLOURED_SHARE = 0.001  # of a grey mask's pixels that may have colours
LABEL_LEVEL = 0.05     # a mask whose brightest level is lower holds labels
SAMPLED_SIDE = 512     # pixels: colours and inversion are judged on a mask subsampled to about this side
# A mask looks inverted where the border of the picture is nearly all subject and something inside is not, or
# where the border is mostly subject and the centre is not.
FRAME_SHARE = 0.02     # width of the border, as a share of height and width
FULL_FRAME, HOLED_MEAN = 0.95, 0.97     # mean of a border that is all subject; of a mask with something else
MOSTLY_FRAME, EMPTY_CENTRE = 0.75, 0.25  # mean of a border that is mostly subject; of a centre that is not


class Problem(NamedTuple):
    """A file that cannot be trained on, and the reason in a few words."""

    file: Path
    reason: str


class Checked(NamedTuple):
    """A checked data set: usable pairs, problems, the number of pairs without a subject, and a fingerprint of
    the pairs' names and contents.
    """

    pairs: list[Pair]
    problems: list[Problem]
    empty: int
    fingerprint: str


def check_pairs(data: Path, known: Path, workers: int, progress: Callable[[list], object] = iter) -> Checked:
    """Check every file of a data set.

    Args:
        data: the folder.
        known: a JSON file with the results of an earlier check, which are used for unchanged files; it is
            updated.
        workers: threads.
        progress: wraps the iteration over pairs, like tqdm.

    Returns:
        See `Checked`.

    Raises:
        DataError: `data` is no folder.
    """
    found = scan_data_set(data)
    problems = [Problem(path, "there is no mask of the same name") for path in found.unpaired_pictures]
    problems += [Problem(path, "there is no picture of the same name") for path in found.unpaired_truths]
    shared = Counter(pair.truth for pair in found.pairs)
    problems += [Problem(pair.picture, f"several pictures share the mask {pair.truth.name}")
                 for pair in found.pairs if shared[pair.truth] > 1]
    pairs = [pair for pair in found.pairs if shared[pair.truth] == 1]
    earlier = _read(known)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        verdicts = list(progress(pool.map(lambda pair: _check_pair(pair, data, earlier), pairs)))
    record = {_key(pair, data): verdict for pair, verdict in zip(pairs, verdicts)}
    atomic_write_bytes(known, json.dumps(record).encode())
    good, empty, digest = [], 0, hashlib.sha256()
    for pair, verdict in zip(pairs, verdicts):
        if verdict["problem"]:
            which, reason = verdict["problem"]
            problems.append(Problem(getattr(pair, which), reason))
        else:
            good.append(pair)
            empty += verdict["empty"]
            digest.update(f"{pair.name}\0{verdict['content']}\n".encode("utf-8", "surrogateescape"))
    return Checked(good, sorted(problems), empty, digest.hexdigest()[:16])


def _read(known: Path) -> dict[str, dict]:
    """The verdicts of an earlier check, by `_key`; {} if there are none."""
    try:
        return json.loads(known.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _key(pair: Pair, data: Path) -> str:
    """A pair's key in the file of verdicts: its two paths below the data set."""
    return "\0".join(path.relative_to(data).as_posix() for path in (pair.picture, pair.truth))


def _check_pair(pair: Pair, data: Path, earlier: dict[str, dict]) -> dict:
    """Judge a pair, unless `earlier` has a verdict on the same files.

    Returns:
        {"stamp": sizes and times of the two files, "content": their digest, "problem": [which, reason] or
        None, "empty": whether the mask is}.
    """
    stamp = [[status.st_size, status.st_mtime_ns] for status in (pair.picture.stat(), pair.truth.stat())]
    held = earlier.get(_key(pair, data))
    if held and held["stamp"] == stamp and "empty" in held:
        return held
    return {"stamp": stamp, "content": sha256(pair.picture, pair.truth), **_judge(pair)}


def _judge(pair: Pair) -> dict:
    """Decode a pair's files: the "problem" and "empty" of its verdict."""
    try:
        size = _upright_size(pair.picture)
    except pictures.PictureError as error:
        return {"problem": ("picture", _short(error, pair.picture)), "empty": False}
    try:
        mask = pictures.read(pair.truth)[0].numpy()
    except pictures.PictureError as error:
        return {"problem": ("truth", _short(error, pair.truth)), "empty": False}
    reason = _explain_size(size, mask.shape[:2]) or explain_unusable(mask)
    return {"problem": ("truth", reason) if reason else None, "empty": not reason and not mask[..., :3].any()}


def _short(error: Exception, path: Path) -> str:
    """An error's message without the file's path."""
    return str(error).removeprefix(f"{path}: ")


def _upright_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright picture, after decoding all of it (a JPEG at an eighth of its size, for
    speed). Raises PictureError."""
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            width, height = image.size
            turned = image.getexif().get(Base.Orientation, 1) > 4
            image.draft("RGB", (width // 8, height // 8))
            image.load()
            return (width, height) if turned else (height, width)
    except Exception:  # another format, or a damaged file, for which `read` raises the error
        return tuple(pictures.read(path).shape[1:3])


def _explain_size(picture: tuple[int, int], mask: tuple[int, int]) -> str | None:
    """Why a mask's size (H, W) does not fit its picture's, or None."""
    if picture == mask:
        return None
    return (explain_turned(picture, mask)
            or f"the mask is {mask[1]}×{mask[0]}, the picture {picture[1]}×{picture[0]}")


def explain_turned(picture: tuple[int, int], mask: tuple[int, int]) -> str | None:
    """Advice if a mask (H, W) has its picture's height and width (H, W) exchanged; else None."""
    if picture != mask[::-1] or picture == mask:
        return None
    return (f"the mask is {mask[1]}×{mask[0]}, the picture {picture[1]}×{picture[0]} after its EXIF "
            "orientation turned it: turn the mask too")


def explain_unusable(mask: np.ndarray) -> str | None:
    """Why a mask as read, float [H,W,3 or 4] in 0..1, cannot be trained on, or None."""
    if mask.shape[2] == 4 and mask[..., 3].min() < 1:
        return "the mask has transparency; save its alpha channel as a grey picture"
    step = max(1, max(mask.shape) // SAMPLED_SIDE)
    some = mask[::step, ::step, :3]
    if (np.ptp(some, axis=2) > COLOUR_SPREAD).mean() > COLOURED_SHARE:
        return "the mask has colours (a palette of labels?); save it as grey levels, white for the subject"
    low, high = mask[..., 0].min(), mask[..., 0].max()
    if 0 < high < LABEL_LEVEL:
        return f"the mask's brightest level is {high * 255:.3g} of 255: labels? save the subject as white"
    if low == high > 0:
        return "the mask is full: everything is subject"
    if looks_inverted(some[..., 0]):
        return "the mask looks inverted: the picture's frame is subject, and its inside is not"
    return None


def looks_inverted(levels: np.ndarray) -> bool:
    """Whether a mask [H,W] in 0..1 looks as if black were the subject, by its border, centre and mean."""
    height, width = levels.shape
    y, x = max(1, round(FRAME_SHARE * height)), max(1, round(FRAME_SHARE * width))
    sides = (levels[:y], levels[-y:], levels[y:-y, :x], levels[y:-y, -x:])
    frame = np.concatenate([side.ravel() for side in sides])
    centre = levels[height // 3:height - height // 3, width // 3:width - width // 3].mean()
    return (frame.mean() >= FULL_FRAME and levels.mean() <= HOLED_MEAN
            or frame.mean() >= MOSTLY_FRAME and centre <= EMPTY_CENTRE)
