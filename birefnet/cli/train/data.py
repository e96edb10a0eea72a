"""Gather the pairs of a run: check them, list bad ones, hold some out for validation."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ...data.check import Checked, check_pairs
from ...data.pairs import DataError, Pair
from ...training.processes import Processes
from ..messages import say
from ..options import CommandError

HOLD_OUT_SHARE, MAX_HOLD_OUT = 0.1, 16  # defaults: share, and largest number, of pictures for validation


class Data(NamedTuple):
    """Pairs to train on, pairs to validate on, and a fingerprint of all."""

    pairs: list[Pair]
    validation: list[Pair]
    fingerprint: str


def gather(
    data: Path,
    validate: Path | None,
    hold_out: float | None,
    skip_bad: bool,
    seed: int,
    checked: Path,
    workers: int,
    processes: Processes,
) -> Data:
    """The pairs for training and for validation.

    Args:
        data: folder of the training pairs.
        validate: folder of the validation pairs; None to hold out some of `data`.
        hold_out: share of `data` to hold out; None for the default.
        skip_bad: leave out unusable files instead of stopping.
        seed: of the choice of pairs to hold out.
        checked: file that keeps the results of the check.
        workers: threads that check files.
        processes: this process among those that train together.

    Raises:
        CommandError: files are unusable and not to be skipped (each has been printed), or no pair is left.
    """
    found = _check(data, skip_bad, checked, workers, processes)
    if validate is not None:
        other = _check(validate, skip_bad, checked.with_stem("checked-validation"), workers, processes)
        return Data(found.pairs, other.pairs, f"{found.fingerprint} {other.fingerprint}")
    total = len(found.pairs)
    count = min(MAX_HOLD_OUT, round(HOLD_OUT_SHARE * total)) if hold_out is None else round(hold_out * total)
    held = {int(index) for index in np.random.default_rng([seed, 3]).permutation(total)[:count]}
    if len(held) == total:
        raise CommandError(f"--hold-out {hold_out}: nothing would be left of {len(found.pairs)} pictures to "
                           "learn from")
    return Data([pair for i, pair in enumerate(found.pairs) if i not in held],
                [found.pairs[i] for i in sorted(held)], found.fingerprint)


def _check(data: Path, skip_bad: bool, known: Path, workers: int, processes: Processes) -> Checked:
    """Check a data set in the first process, which prints problems; the others then reuse its results."""
    known.parent.mkdir(parents=True, exist_ok=True)
    if not processes.first:
        processes.wait()
    quiet = None if processes.first else True
    try:
        found = check_pairs(data.resolve(), known, workers,
                            lambda verdicts: tqdm(verdicts, "checking", unit="pair", disable=quiet))
    except DataError as error:
        raise CommandError(str(error)) from None
    if processes.first:
        for problem in found.problems:
            say(f"{problem.file}: {problem.reason}")
        if 0 < found.empty < len(found.pairs):
            say(f"{data}: {found.empty} of {len(found.pairs)} masks are empty: pictures without a subject")
        processes.wait()
    if found.problems and not skip_bad:
        raise CommandError(f"{data}: {len(found.problems)} files cannot be used; fix them, or leave them "
                           "out with --skip-bad")
    if not found.pairs:
        raise CommandError(f"{data}: no pictures with masks {'are left' if found.problems else 'found'}; "
                           "expected folders im/ and gt/ with files of the same name")
    if found.empty == len(found.pairs):
        raise CommandError(f"{data}: all {found.empty} masks are empty: there is no subject to learn (white "
                           "is subject)")
    return found
