"""Measures foreground estimation on composites with known colours, beside PyMatting where that is installed.

    python tests/matting/foreground/measure.py FOLDER...        # each with im/<stem>.* and gt/<stem>.png

prints the alpha-weighted error of the colours where .05 < alpha < .95 (mean absolute, in 8-bit levels; mean
squared) and the seconds that each method takes, case by case and on the mean. `--network WEIGHTS` times them
on the photographs under the mattes of a checkpoint instead, which are soft in more places.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "matting" / "foreground")]

from composites import Composite, composites, errors  # noqa: E402

import birefnet  # noqa: E402
from birefnet.imaging import pictures  # noqa: E402
from birefnet.matting import foreground  # noqa: E402

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def methods() -> dict[str, Method]:
    """Functions from image [H,W,3] and alpha [H,W] to the foreground's colours, float32 each."""

    def ours(method: str) -> Method:
        def run(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
            return foreground.estimate(torch.from_numpy(image)[None], torch.from_numpy(alpha)[None],
                                       method)[0].numpy()

        return run

    listed = {method: ours(method) for method in foreground.METHODS}
    try:
        from pymatting import estimate_foreground_ml
    except ImportError:
        return listed
    return listed | {"PyMatting": estimate_foreground_ml}


def timed(method: Method, image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, float]:
    """The result, and the shortest of three times in seconds."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = method(image, alpha)
        times.append(time.perf_counter() - start)
    return result, min(times)


def photographs(pairs: list[tuple[Path, Path]],
                weights: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, image, alpha) with a network's alpha."""
    model = birefnet.load(weights)
    for photo, _ in pairs:
        image = pictures.read(photo)
        yield photo.stem, image[0].numpy(), birefnet.matte(model, image)[0].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders with im/ and gt/")
    parser.add_argument("--longest", type=int, default=1920, help="longer side to which larger pictures are "
                                                                  "reduced")
    parser.add_argument("--network", type=Path, help="a checkpoint: time its mattes of the photographs")
    options = parser.parse_args()
    pairs = [(next((folder / "im").glob(matte.stem + ".*")), matte)
             for folder in options.folders for matte in sorted((folder / "gt").glob("*.png"))]
    run = methods()
    for method in run.values():  # whatever is compiled or allocated at the first call
        method(np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.float32))
    print(f"{torch.get_num_threads()} threads; absolute error, squared error, seconds: {', '.join(run)}")
    if options.network:
        for name, image, alpha in photographs(pairs, options.network):
            seconds = [timed(method, image, alpha)[1] for method in run.values()]
            print(f"{name:24}{image.shape[1]:5}×{image.shape[0]:<6}" + "".join(f"{t:8.3f}" for t in seconds),
                  flush=True)
        return
    rows = []
    for composite in composites(pairs, options.longest):
        rows.append([figures(composite, method) for method in run.values()])
        print(f"{composite.name:24}" + told(np.array(rows[-1])), flush=True)
    table = np.array(rows)
    print(f"{'mean':24}" + told(table.mean(0)))
    if "PyMatting" in run:
        wins = (table[:, 0, :2] <= table[:, -1, :2]).sum(0)
        print(f"{list(run)[0]} no worse than PyMatting: {wins[0]} (absolute), {wins[1]} (squared) of "
              f"{len(table)}")


def figures(composite: Composite, method: Method) -> tuple[float, float, float]:
    found, seconds = timed(method, composite.image, composite.alpha)
    return *errors(found, composite), seconds


def told(row: np.ndarray) -> str:
    return "".join(f"{absolute:9.2f}{squared:8.1f}{seconds:8.3f}" for absolute, squared, seconds in row)


if __name__ == "__main__":
    main()
