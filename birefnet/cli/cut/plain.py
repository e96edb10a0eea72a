"""The plain engine: one process, one picture after the other (on a GPU, one batch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..options import Stacked
from ..runner import find_checkpoint, open_model
from . import steps
from .manifest import Job
from .steps import CutOptions, Outcome


class Plain:
    """A checkpoint in this process; raises CommandError if it cannot be loaded."""

    def __init__(self, model: str, dtype: str, adapters: Sequence[Stacked]) -> None:
        self.runner = open_model(find_checkpoint(model), dtype, adapters)
        self.config = self.runner.network.config

    def run(self, jobs: list[Job], options: CutOptions) -> Iterator[Outcome]:
        batch = 1 if self.runner.home.type == "cpu" else options.batch()
        for start in range(0, len(jobs), batch):
            some = jobs[start:start + batch]
            pictures = [steps.read(job, options, keep=len(some) == 1) for job in some]
            steps.matte(self.runner, pictures)
            for picture in pictures:
                yield steps.finish(picture, options)
