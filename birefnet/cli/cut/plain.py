"""The plain engine: one process, picture by picture (on a GPU, batch by batch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..models import find_checkpoint, open_model
from ..options import AdapterOption
from . import steps
from .manifest import Job
from .steps import Choose, CutOptions, Outcome


class Plain:
    """A checkpoint in this process; raises CommandError if it cannot be loaded.

    choose: chooses subjects in each picture; None mattes everything salient.
    """

    def __init__(self, model: str, dtype: str, adapters: Sequence[AdapterOption],
                 choose: Choose | None = None) -> None:
        self.runner = open_model(find_checkpoint(model), dtype, adapters)
        self.choose = choose
        self.config = self.runner.network.config

    def run(self, jobs: list[Job], options: CutOptions) -> Iterator[Outcome]:
        """Yield the outcome of each job, in order."""
        one_by_one = self.choose is not None or self.runner.preferred_device.type == "cpu"
        batch = 1 if one_by_one else options.batch()
        for start in range(0, len(jobs), batch):
            some = jobs[start:start + batch]
            pictures = [steps.read(job, options, keep=len(some) == 1) for job in some]
            if self.choose is None:
                steps.matte(self.runner, pictures)
            else:
                steps.matte_chosen(self.runner, pictures[0], self.choose, options)
            for picture in pictures:
                yield steps.finish(picture, options)
