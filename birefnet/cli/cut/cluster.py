"""The engine for all cores and GPUs of a machine or cluster: the pipeline's steps as stages of Ray Data.

Reading and finishing are tasks on free cores. Matting is done by actors that hold the network, one per GPU
or, without GPUs, one per few cores. A batch stays one block in all stages, so that the network gets the same
batches as on the plain engine. Ray slows a stage down when the next one is behind, and repeats the work of a
process or machine that died.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..messages import say
from ..models import describe, find_checkpoint, open_model, read_config, say_licence
from ..options import AdapterOption, CommandError, explain_missing_package
from . import places, steps
from .manifest import Job
from .steps import CutOptions, Outcome, Picture

MAX_RETRIES = 3      # of a task whose process died; Ray Data's default, endless, would hang on a bad picture
CORES_PER_ACTOR = 4  # without GPUs: more cores per actor gain little, and each actor holds a network


class Cluster:
    """A checkpoint with its adapters on a Ray cluster.

    Args:
        address: of the cluster; "auto" for the one around this process, None for a new one on this machine.

    Raises:
        CommandError: a package, the cluster or the checkpoint is missing.
    """

    def __init__(self, model: str, dtype: str, adapters: Sequence[AdapterOption], address: str | None
                 ) -> None:
        path = find_checkpoint(model)
        self.config = read_config(path)
        # A path must be valid on all machines; a catalog name is resolved on each.
        self.model, self.dtype = str(path.resolve()) if Path(model).exists() else model, dtype
        self.adapters = [AdapterOption(file.resolve(), strength) for file, strength in adapters]
        self.ray, self.ours = _connect(address)
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cores, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
        if gpus:
            self.actors, self.threads, self.reserved = gpus, 1, {"num_gpus": 1, "num_cpus": 1}
        else:
            counts = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
            self.threads = min([CORES_PER_ACTOR, *counts])
            self.actors = sum(count // self.threads for count in counts)
            # One core of each actor is left to reading and finishing, which need far less than the network.
            self.reserved = {"num_cpus": max(1, self.threads - 1)}
        self.threads = min(self.threads, int(os.environ.get("OMP_NUM_THREADS", self.threads)))
        self.readers = max(1, cores - self.actors * self.reserved["num_cpus"])
        where = f"{gpus} GPUs" if gpus else f"{self.actors} x {self.threads} cores"
        say(f"{describe(path, adapters)} on {where}, reading and writing on {self.readers} more, machines: "
            f"{len(nodes)}; {self.config.describe()}")
        say_licence(path)

    def run(self, jobs: Sequence[Job], options: CutOptions) -> Iterator[Outcome]:
        """Yield outcomes as they arrive, see `in_rounds`."""
        try:
            yield from in_rounds(jobs, options.batch(),
                                 lambda left, batch: self._round(jobs, left, options, batch))
        finally:
            if self.ours:
                self.ray.shutdown()

    def _round(self, jobs: Sequence[Job], chosen: list[int], options: CutOptions, batch: int
               ) -> Iterator[tuple[int, str, str]]:
        """Run the chosen jobs once; yield (index of the job, error, remark)."""
        import pyarrow
        from ray.data import ActorPoolStrategy, TaskPoolStrategy, from_arrow

        table = pyarrow.table({
            "index": pyarrow.array(chosen, pyarrow.int64()),
            **{column: pyarrow.array((os.fsencode(places.absolute(getattr(jobs[index], column)))
                                      for index in chosen), pyarrow.binary())
               for column in ("source", "target")},
            "replaces": pyarrow.array((jobs[index].replaces for index in chosen), pyarrow.string()),
        })
        batches = [table.slice(start, batch) for start in range(0, len(chosen), batch)]
        whole = {"batch_size": None, "batch_format": "pyarrow"}
        # Reading and finishing reserve no cores, but are limited in number: when machines die, their actors
        # move to the other machines and may reserve all cores there.
        free = {"num_cpus": 0, "compute": TaskPoolStrategy(self.readers), "max_retries": MAX_RETRIES}
        stages = from_arrow(batches).map_batches(_read, fn_args=(options,), **free, **whole).map_batches(
            _Matte, fn_constructor_args=(self.model, self.dtype, self.adapters, self.threads),
            compute=ActorPoolStrategy(min_size=1, max_size=self.actors, max_tasks_in_flight_per_actor=2),
            max_task_retries=MAX_RETRIES, **self.reserved, **whole,
        ).map_batches(_finish, fn_args=(options,), **free, **whole)
        try:
            for some in stages.iter_batches(prefetch_batches=1, **whole):
                yield from zip(*(some.column(name).to_pylist() for name in ("index", "error", "remark")))
        except (self.ray.exceptions.RayError, RuntimeError) as error:
            last = str(error).strip().splitlines()[-1]
            raise CommandError(f"Ray failed: {last}; the same command goes on where it was") from error


def in_rounds(
    jobs: Sequence[Job],
    batch: int,
    one_round: Callable[[list[int], int], Iterable[tuple[int, str, str]]],
) -> Iterator[Outcome]:
    """Run jobs in a round of batches; then those without a result once more, one by one.

    A job has no result if its process died repeatedly. In the second round, a bad picture cannot take others
    of its batch with it.

    Args:
        jobs: all jobs.
        batch: pictures per batch.
        one_round: one_round(indices of jobs, pictures per batch) yields (index, error, remark) for each job.

    Yields:
        The outcome of each job, those without a result last.
    """
    done = bytearray(len(jobs))
    for size in (batch, 1):
        left = [index for index, there in enumerate(done) if not there]
        for index, error, remark in one_round(left, size) if left else ():
            done[index] = True
            yield Outcome(jobs[index], error, remark)
    for index, there in enumerate(done):
        if not there:
            yield Outcome(jobs[index], f"{jobs[index].source}: its process died; a damaged "
                                       "picture, or not enough memory")


def _connect(address: str | None):
    """Connect to Ray, without dashboard and usage statistics.

    Returns:
        The module `ray`, and whether this call connected it.

    Raises:
        CommandError: Ray is missing, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's internal log
    with explain_missing_package("--engine ray", "requirements-scale.txt"):
        import pyarrow  # noqa: F401
        import ray
        import ray.data
    ours = not ray.is_initialized()
    if ours:
        new = {} if address else {"include_dashboard": False}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **new)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise CommandError(f"--address {address}: no Ray cluster there ({str(error).splitlines()[0]}); "
                               "`ray start --head` makes one") from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = None  # a batch stays one block
    context.max_errored_blocks = -1       # `in_rounds` finds the jobs that a dead process left
    return ray, ours


# The stages, in Ray's processes -----------------------------------------------------------------------------


def _read(table, options: CutOptions):
    """Jobs → pictures, with their files' bytes and the network's inputs."""
    rows = table.to_pylist()
    jobs = [Job(os.fsdecode(row["source"]), os.fsdecode(row["target"]), row["replaces"]) for row in rows]
    return _to_table([(row["index"], steps.read(job, options, keep=False)) for row, job in zip(rows, jobs)])


class _Matte:
    """The network in a process of its own."""

    def __init__(self, model: str, dtype: str, adapters: Sequence[AdapterOption], threads: int) -> None:
        torch.set_num_threads(threads)
        self.runner = open_model(find_checkpoint(model), dtype, adapters)

    def __call__(self, table):
        indexed = _from_table(table)
        steps.matte(self.runner, [picture for _, picture in indexed])
        return _to_table(indexed)


def _finish(table, options: CutOptions):
    """Pictures with their alphas → outcomes."""
    import pyarrow

    outcomes = [(index, steps.finish(picture, options)) for index, picture in _from_table(table)]
    return pyarrow.table({"index": [index for index, _ in outcomes],
                          "error": [outcome.error for _, outcome in outcomes],
                          "remark": [outcome.remark for _, outcome in outcomes]})


def _to_table(indexed: list[tuple[int, Picture]]):
    """Convert pictures to rows of an Arrow table; `x` or `small`, whichever is set, to bytes and a shape."""
    import pyarrow

    tensors = [picture.x if picture.small is None else picture.small for _, picture in indexed]
    jobs = [picture.job for _, picture in indexed]
    return pyarrow.table({
        "index": pyarrow.array([index for index, _ in indexed], pyarrow.int64()),
        "source": pyarrow.array([os.fsencode(job.source) for job in jobs], pyarrow.binary()),
        "target": pyarrow.array([os.fsencode(job.target) for job in jobs], pyarrow.binary()),
        "replaces": pyarrow.array([job.replaces for job in jobs], pyarrow.string()),
        "error": pyarrow.array([picture.error for _, picture in indexed], pyarrow.string()),
        "content": pyarrow.array([picture.content for _, picture in indexed], pyarrow.large_binary()),
        "shape": pyarrow.array([[] if x is None else list(x.shape) for x in tensors],
                               pyarrow.list_(pyarrow.int64())),
        "tensor": pyarrow.array([b"" if x is None else x.numpy().tobytes() for x in tensors],
                                pyarrow.large_binary()),
    })


def _from_table(table) -> list[tuple[int, Picture]]:
    """The inverse of `_to_table`."""
    indexed = []
    for row in range(len(table)):
        cells = {name: table.column(name)[row] for name in table.column_names}
        job = Job(os.fsdecode(cells["source"].as_py()), os.fsdecode(cells["target"].as_py()),
                  cells["replaces"].as_py())
        picture = Picture(job, cells["content"].as_py(), error=cells["error"].as_py())
        shape = cells["shape"].as_py()
        if shape:
            # A copy, as memory that Ray shares between processes is read-only.
            values = np.frombuffer(cells["tensor"].as_buffer(), np.float32)
            tensor = torch.from_numpy(values.reshape(shape).copy())
            picture.x, picture.small = (tensor, None) if len(shape) == 4 else (None, tensor)
        indexed.append((cells["index"].as_py(), picture))
    return indexed
