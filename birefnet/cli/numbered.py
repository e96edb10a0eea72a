"""Numbered frames: patterns such as shot.####.exr, whose run of # stands for a number."""

from __future__ import annotations

import os
import re

from .options import CommandError


def find_frames(pattern: str) -> list[str]:
    """List the files of a pattern such as shots/shot.####.exr, in the order of their numbers. A run of n #
    stands for n or more digits. Raises CommandError if the folder cannot be listed."""
    folder, name = os.path.split(pattern)
    parts = [f"(\\d{{{len(part)},}})" if part.startswith("#") else re.escape(part)
             for part in re.split("(#+)", name)]
    number = re.compile("".join(parts))
    try:
        found = [(*map(int, match.groups()), match[0]) for entry in os.listdir(folder or os.curdir)
                 if (match := number.fullmatch(entry))]
    except OSError as error:
        raise CommandError(f"{pattern}: cannot be listed ({error.strerror or error})") from None
    return [os.path.join(folder, entry[-1]) for entry in sorted(found)]


def frame_number(name: str) -> str:
    """The digits that a file name's stem ends in, "" if there are none: "0042" of shot.0042.exr."""
    return re.search(r"\d*$", os.path.splitext(name)[0])[0]


def fill_pattern(pattern: str, digits: str) -> str:
    """Fill the number `digits` into a pattern's first run of #, padded with zeros to its length. Raises
    CommandError for ""."""
    if not digits:
        raise CommandError(f"{pattern}: expected inputs that are numbered, such as shot.####.exr, for "
                           "results that are")
    return re.sub("#+", lambda run: f"{int(digits):0{len(run[0])}}", pattern, count=1)
