"""`python -m birefnet eval`: scores a checkpoint, or saved mattes, on pictures with known masks."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import weights

from ..files.errors import one_line
from .options import (
    DTYPE_CHOICES,
    AdapterOption,
    CommandError,
    add_adapter_option,
    at_least,
    explain_missing_package,
    file_name,
    size,
)

if TYPE_CHECKING:
    import numpy as np

    from ..data.pairs import Pair

WORST = 12  # cases on the contact sheet
BESIDE = (".csv", ".jpg", ".journal")  # suffixes of the files written beside the report


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command `eval`."""
    parser = subparsers.add_parser(
        "eval", help="score a checkpoint, or saved mattes, on pictures with known masks",
        description="Scores a checkpoint, or mattes that are already there, on pictures with known masks: "
                    "S-measure, weighted, maximal and mean F, E-measure, MAE, HCE, IoU, boundary IoU, and "
                    "the matting errors SAD, MSE, gradient and connectivity. Stopped, the same command goes "
                    "on where it was.")
    parser.add_argument("data", type=Path, metavar="DATA",
                        help="folder with im/ and gt/ (files of the same name), or a folder of such folders")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", default=weights.DEFAULT, metavar="NAME|FILE",
                        help="checkpoint: a name of the catalog or a file (default: %(default)s)")
    source.add_argument("--pred", type=Path, metavar="DIR",
                        help="score the mattes in DIR, named as the pictures; of cut-outs, their alpha")
    add_adapter_option(parser)
    parser.add_argument("--size", type=size, metavar="N|WxH",
                        help="pixels that the network sees (default: its own)")
    parser.add_argument("--dtype", choices=DTYPE_CHOICES,
                        help="number format of the computation (default: fp32, as in published tables)")
    parser.add_argument("--json", type=file_name(".json", *BESIDE), default="eval.json", metavar="FILE.json",
                        help="file for means and scores per picture (default: %(default)s); beside it a .csv "
                             "of these scores and a .jpg of the worst cases")
    parser.add_argument("--workers", type=at_least(1), default=max(1, os.cpu_count() or 1), metavar="N",
                        help="processes that compute measures (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the report. Exit status: 0 if every picture was scored, else 1."""
    with explain_missing_package("eval", "requirements-train.txt"):
        from ..data.pairs import DataError, find_pairs
        from ..evaluation import report
        from ..evaluation.run import evaluate
        from ..evaluation.scores import Means
    from tqdm import tqdm

    unused = {"--adapter": args.adapters, "--size": args.size, "--dtype": args.dtype}
    if args.pred and (given := [option for option, value in unused.items() if value]):
        raise CommandError(f"--pred scores mattes as they are: {', '.join(given)} would do nothing")
    try:
        pairs = find_pairs(args.data)
        predict, about = read_predictions(args.pred) if args.pred else predict_with(
            args.model, args.adapters, args.size, args.dtype or "fp32")
    except DataError as error:
        raise CommandError(str(error)) from None
    settings = {"data": str(args.data.resolve()), **about}
    means, scores, failed = Means(), {}, []
    journal = args.json.with_suffix(".journal")
    with explain_errors(args.json):
        results = evaluate(pairs, predict, journal, settings, args.workers)
        for pair, result in tqdm(results, total=len(pairs), unit="picture", disable=None):
            if isinstance(result, Exception):
                failed.append(pair)
                tqdm.write(f"{pair.name}: {result}", file=sys.stderr)
            else:
                scores[pair.name] = result
        if not scores:
            raise CommandError("no picture could be scored")
        for pair in pairs:  # in the data set's order, so that rounding of the sums is reproducible
            if pair.name in scores:
                means.add(scores[pair.name])
        worst = sorted(((pair, scores[pair.name]) for pair in pairs if pair.name in scores),
                       key=lambda scored: scored[1].values["weighted_f"])[:WORST]
        report.write_json(args.json, means.values(), scores, settings)
        report.write_csv(args.json.with_suffix(".csv"), scores)
        print(report.table(means.values(), means.pictures), flush=True)
        for error in report.write_sheet(args.json.with_suffix(".jpg"), worst, predict):
            tqdm.write(f"{error}; it is not on the sheet of the worst cases", file=sys.stderr)
        print(one_line(f"written: {args.json}, {args.json.with_suffix('.csv').name}, "
                       f"{args.json.with_suffix('.jpg').name}"))
    if failed:
        return 1
    journal.unlink(missing_ok=True)
    return 0


@contextlib.contextmanager
def explain_errors(report: Path) -> Iterator[None]:
    """Convert errors that stop a run to CommandError; the same command can continue it."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool:
        raise CommandError("a process that computes measures was killed, maybe for want of memory: fewer "
                           "--workers need less; the same command goes on from here") from None
    except OSError as error:
        raise CommandError(f"{report}: cannot be written ({error.strerror or error}); the same command goes "
                           "on from here") from None


def read_predictions(folder: Path) -> tuple[Callable[[Pair], np.ndarray], dict[str, object]]:
    """Predict by the mattes in a folder, named as the pairs with any picture suffix; of cut-outs, the alpha.

    Returns:
        A function from a pair to its prediction [H,W] in 0..1, and settings that identify the predictions.

    Raises:
        DataError: there is no such folder.
    """
    from ..data.pairs import DataError
    from ..data.read import read_matte
    from ..imaging.pictures import suffixes

    if not folder.is_dir():
        raise DataError(f"--pred {folder}: expected a folder")
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*"))
             if path.suffix.lower() in suffixes()}

    def predict(pair: Pair) -> np.ndarray:
        found = files.get(pair.name) or files.get(pair.picture.stem)
        if found is None:
            raise FileNotFoundError(f"no matte of that name in {folder}")
        return read_matte(found)

    stamps = sorted((name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in files.items())
    about = {"pred": str(folder.resolve()), "files": hashlib.sha256(repr(stamps).encode()).hexdigest()}
    return predict, about


def predict_with(
    name: str, adapters: Sequence[AdapterOption], network_size: int | tuple[int, int] | None, dtype: str
) -> tuple[Callable[[Pair], np.ndarray], dict[str, object]]:
    """Predict by a checkpoint with its adapters; returns as `read_predictions` does."""
    from .. import is_out_of_memory
    from ..imaging import pictures
    from .models import find_checkpoint, identify, open_model

    path = find_checkpoint(name)
    runner = open_model(path, dtype, adapters)

    def predict(pair: Pair) -> np.ndarray:
        try:
            return runner.matte(pictures.read(pair.picture), network_size)[0].numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        raise ValueError("not enough memory; a smaller --size needs less")

    return predict, {**identify(path, adapters), "model": name, "size": network_size or "own", "dtype": dtype}
