"""The journal from which an evaluation goes on: damaged lines are scored again, and nothing else happens."""

from __future__ import annotations

import math
from pathlib import Path

from .kind import Bytes

SETTINGS = {"data": "x", "model": "birefnet-nano"}


def start(folder: Path):
    from birefnet.evaluation import saliency
    from birefnet.evaluation.run import read_journal, write_journal
    from birefnet.evaluation.scores import MEASURES, Means

    path = folder / "a.journal"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        done = read_journal(path, SETTINGS)
        means = Means()
        for name, score in done.items():
            assert isinstance(name, str) and score.f_curve.shape == (saliency.LEVELS,)
            assert all(math.isfinite(score.values[measure]) for measure in MEASURES)
            means.add(score)
        write_journal(path, SETTINGS, done)
        assert read_journal(path, SETTINGS).keys() == done.keys()

    return read


KINDS = (
    Bytes(
        "journals",
        "bytes of an evaluation's journal",
        8,
        start,
        lambda: (),
        seeds="journals",
        instrument=("birefnet.evaluation.run",),
    ),
)
