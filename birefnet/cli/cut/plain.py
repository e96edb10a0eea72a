"""The engine that needs nothing: one process, one picture (on a GPU one batch) after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..options import Stacked
from ..runner import find_checkpoint, open_model
from . import steps
from .manifest import Job
from .steps import Look, Outcome


class Plain:
    """A checkpoint in this process; raises `CommandError` where it cannot be had."""

    def __init__(self, model: str, dtype: str, adapters: Sequence[Stacked]) -> None:
        self.runner = open_model(find_checkpoint(model), dtype, adapters)
        self.config = self.runner.network.config

    def run(self, jobs: list[Job], look: Look) -> Iterator[Outcome]:
        batch = 1 if self.runner.home.type == "cpu" else look.batch()
        for start in range(0, len(jobs), batch):
            some = jobs[start:start + batch]
            pictures = [steps.read(job, look, keep=len(some) == 1) for job in some]
            steps.matte(self.runner, pictures)
            for picture in pictures:
                yield steps.finish(picture, look)
