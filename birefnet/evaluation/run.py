"""Score a data set: streaming, in several processes, resumable.

Predictions are computed (or read) one by one, and worker processes compute their measures. Few pictures wait
at a time, so memory does not grow with the data set. Each finished picture is a line of a journal. A later
run with the same settings takes scores from it, except for pictures whose files have changed.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.pairs import Pair
from ..data.read import read_grey
from ..files.atomic import atomic_write
from .saliency import LEVELS
from .scores import MEASURES, Score, score

MAX_WAITING = 2  # predictions per worker
UNKNOWN_LEVELS = (1, 254)  # first and last 8-bit level of a trimap's unknown band


def evaluate(
    pairs: list[Pair],
    predict: Callable[[Pair], np.ndarray],
    journal: Path,
    settings: dict[str, object],
    workers: int,
) -> Iterator[tuple[Pair, Score | Exception]]:
    """Score pairs.

    Args:
        pairs: pictures with true masks.
        predict: a pair's prediction, float [H,W] in 0..1; it is resized to the truth's size.
        journal: file of the finished scores.
        settings: stored in the journal; one with other settings starts over.
        workers: processes that compute measures.

    Yields:
        Each pair with its score: first those of the journal, then the others as they are finished. A picture
        that cannot be read or predicted comes with its error, and is tried again by the next run.
    """
    earlier = read_journal(journal, settings)
    keys = {pair.name: journal_key(pair) for pair in pairs}
    done = {name: earlier[name] for name in keys.values() if name in earlier}
    for pair in pairs:
        if keys[pair.name] in done:
            yield pair, done[keys[pair.name]]
    remaining = [pair for pair in pairs if keys[pair.name] not in done]
    if not remaining:
        return
    write_journal(journal, settings, done)
    # Not fork: PyTorch's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    with (ProcessPoolExecutor(workers, context, end_with_parent) as pool,
          journal.open("a", encoding="utf-8") as lines):
        running: dict[Future, Pair] = {}
        for pair in remaining:
            try:
                running[pool.submit(score_pair, predict(pair), pair)] = pair
            except (OSError, ValueError) as error:
                yield pair, error
            if len(running) >= MAX_WAITING * workers:
                yield from collect_finished(running, lines, keys)
        while running:
            yield from collect_finished(running, lines, keys)


def end_with_parent() -> None:
    """Make a worker process exit with its parent. A worker holds both ends of its queue, so it would not
    notice otherwise."""
    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def collect_finished(running: dict[Future, Pair], lines, keys: dict[str, str]
                     ) -> Iterator[tuple[Pair, Score | Exception]]:
    """Wait for at least one score; write all that are ready to the journal, and yield them."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        pair = running.pop(future)
        error = future.exception()
        if error is None:
            lines.write(to_line(keys[pair.name], future.result()) + "\n")
            lines.flush()
        elif not isinstance(error, (OSError, ValueError)):
            raise error
        yield pair, error or future.result()


def score_pair(prediction: np.ndarray, pair: Pair) -> Score:
    """Score a prediction against the pair's files. Raises ValueError if the trimap's size is wrong."""
    truth = read_grey(pair.truth)
    unknown = None
    if pair.trimap is not None:
        levels = read_grey(pair.trimap) * 255
        unknown = (levels >= UNKNOWN_LEVELS[0]) & (levels <= UNKNOWN_LEVELS[1])
        if unknown.shape != truth.shape:
            raise ValueError(f"{pair.trimap}: expected the size of {pair.truth.name}")
    return score(resize_prediction(prediction, truth.shape), truth, unknown)


def resize_prediction(prediction: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a prediction bilinearly to (H, W): float64 in 0..1."""
    if prediction.shape == shape:
        return prediction.astype(np.float64)
    picture = Image.fromarray(prediction.astype(np.float32))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR), np.float64).clip(0, 1)


# The journal: its settings, then a line for each picture ----------------------------------------------------


def journal_key(pair: Pair) -> str:
    """A pair's key in the journal: its name and the stamps of its files."""
    return " ".join([pair.name, *(_stamp(path) for path in (pair.picture, pair.truth, pair.trimap) if path)])


def _stamp(path: Path) -> str:
    """A file's size and time of change, which identify its content."""
    try:
        status = path.stat()
    except OSError:  # reported when the file is read
        return "unreadable"
    return f"{status.st_size}:{status.st_mtime_ns}"


def read_journal(path: Path, settings: dict[str, object]) -> dict[str, Score]:
    """Read the scores of an earlier run with the same settings, by key.

    Truncated or damaged lines are left out, so that their pictures are scored again.
    """
    if not path.exists():
        return {}
    first, *lines = path.read_bytes().split(b"\n")
    try:
        if json.loads(first) != json.loads(json.dumps(settings)):
            return {}
    except (ValueError, RecursionError):
        return {}
    return dict(filter(None, map(from_line, lines)))


def write_journal(path: Path, settings: dict[str, object], done: dict[str, Score]) -> None:
    """Write the journal atomically, so that new lines are not appended to a truncated one."""
    lines = [json.dumps(settings), *(to_line(name, score) for name, score in done.items())]
    with atomic_write(path) as part:
        part.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        part.keep()


def to_line(name: str, score: Score) -> str:
    """Format a journal's line; name: the pair's key."""
    curve = base64.b64encode(score.f_curve.astype("<f8").tobytes()).decode()
    return json.dumps({"name": name, "values": score.values, "f_curve": curve})


def from_line(line: bytes) -> tuple[str, Score] | None:
    """Parse a line of `to_line`; None for anything else."""
    try:
        entry = json.loads(line)
        name, values = entry["name"], {measure: float(entry["values"][measure]) for measure in MEASURES}
        curve = np.frombuffer(base64.b64decode(entry["f_curve"], validate=True), "<f8")
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None
    finite = np.isfinite([*values.values(), *curve]).all()
    valid = isinstance(name, str) and curve.shape == (LEVELS,) and finite
    return (name, Score(values, curve)) if valid else None
