"""The training loop: learn, log, validate, save.

A run's result depends only on its plan, its source, its initial network, and the batch size of all processes
together. A stopped run resumes with the same numbers, up to rounding: with another number of threads, and on
GPUs, where some kernels add in varying order.
"""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from tqdm import tqdm

from ..checkpoint.load import save
from ..data.batches import BatchSource, load_batches, to_unit_range
from ..data.pairs import Pair
from ..device.dtypes import DTYPES
from ..files.atomic import atomic_write_bytes
from ..network.birefnet import BiRefNet
from .events import Events
from .learner import Learner
from .page import write_page
from .plan import TrainingPlan
from .processes import Processes
from .recompute import recompute_blocks
from .run_folder import RunFolder
from .validate import make_truth_tiles, score_pairs, stack_tiles

CURVE_POINTS = 400  # of a loss curve, approximately
MEASUREMENTS = 10   # validations during a run, approximately, besides the one before its first step


class Interrupted(Exception):
    """Raised when a run was interrupted and has saved its state."""


def train(
    run: RunFolder,
    plan: TrainingPlan,
    model: BiRefNet,
    source: BatchSource,
    processes: Processes,
    *,
    workers: int,
    validation: Sequence[Pair],
    recompute: bool,
    save_every: int,
    metadata: Mapping[str, str],
) -> None:
    """Train to the plan's end, from the run's saved state if there is one.

    Args:
        run: the run's folder.
        plan: the run's settings.
        model: in form "plain"; moved to the processes' device.
        source: makes the batches.
        processes: this process among those that train together.
        workers: processes that prefetch batches.
        validation: pairs that are scored before the first step, about MEASUREMENTS times, and at the end.
        recompute: save memory by gradient checkpointing.
        save_every: steps between saved states.
        metadata: of the checkpoint, added to what `birefnet.save` writes.

    Raises:
        Interrupted: at Ctrl-C, after the state is saved.
        FloatingPointError: see `Learner.train_step`.
        PackageError: the optimiser's package is missing.
    """
    model = model.to(processes.device, memory_format=torch.channels_last)  # faster for convolutions
    learner = Learner(model.train(), plan.rate, optimizer=plan.optimizer, average=plan.average,
                      dtype=DTYPES[plan.dtype], accumulate=plan.accumulate,
                      seed=plan.seed * processes.count + processes.rank,
                      wrap=processes.wrap, processes=processes.count)
    if recompute:
        recompute_blocks(model)
    state = run.load_state()
    if state is not None:
        learner.load_state_dict(state)
    del state

    def write_checkpoint() -> None:
        save(learner.result, run.checkpoint, {**metadata, "birefnet.step": str(learner.step)})

    log = Log(run, plan, learner, validation, processes)
    if learner.step == 0:
        log.measure()
    loaded = load_batches(source, learner.step, plan.steps, workers, processes.device)
    with catch_interrupt() as interrupted, tqdm(total=plan.steps, initial=learner.step, unit="step",
                                                disable=None if processes.first else True) as bar:
        for images, alphas in map(to_unit_range, loaded):
            learner.rate, learner.weights = plan.rate_at(learner.step), plan.weights_at(learner.step)
            learner.train_step(images, alphas)
            bar.update()
            log.note(images.shape[2:], bar)
            stop = any(processes.everyone([interrupted.is_set()]))
            if learner.step == plan.steps or learner.step % log.measure_every == 0:
                log.measure()
            if stop or learner.step == plan.steps or learner.step % save_every == 0:
                if processes.first:
                    run.save_state(learner.state_dict())
                    write_checkpoint()
            if stop and learner.step < plan.steps:
                log.close()
                raise Interrupted
    if processes.first:
        write_checkpoint()  # a run killed between `save_state` and `write_checkpoint` resumes only here
        log.close()
    processes.wait()


class Log:
    """Writes a run's reports: history, TensorBoard's events, tiles of mattes, and the HTML page."""

    def __init__(self, run: RunFolder, plan: TrainingPlan, learner: Learner, validation: Sequence[Pair],
                 processes: Processes) -> None:
        self.run, self.plan, self.learner = run, plan, learner
        self.validation, self.processes = validation, processes
        self.every = max(1, plan.steps // CURVE_POINTS)
        self.measure_every = max(1, round(plan.steps / MEASUREMENTS))
        self.recent: list[dict[str, float]] = []
        self.began, self.began_at = time.monotonic(), learner.step
        self.events = None
        if processes.first:
            run.remove_rows_after(learner.step)
            self.events = Events(run.folder, learner.step)
            if validation and (learner.step == 0 or not (run.mattes / "truth.jpg").exists()):
                run.mattes.mkdir(exist_ok=True)
                for name, tiles in zip(("picture", "truth"), make_truth_tiles(validation)):
                    self.write_tiles(name, tiles)

    def note(self, size: tuple[int, int], bar: tqdm) -> None:
        """Record a step's loss; add a point to the curves every few steps. size: of the batch, (H, W)."""
        self.recent.append(self.learner.loss_terms)
        step = self.learner.step
        if step % self.every and step != self.plan.steps:
            return
        recent = self.processes.everyone(self.recent)
        names = {name: None for parts in recent for name in parts}
        terms = {name: sum(parts.get(name, 0.0) for parts in recent) / len(recent) for name in names}
        self.recent = []
        loss = sum(terms.values())
        bar.set_postfix(loss=f"{loss:.2f}", size=f"{size[1]}x{size[0]}", refresh=False)
        if self.processes.first:
            row = {"step": step, "loss": loss, "terms": terms, "rate": self.learner.rate, "size": list(size),
                   "seconds": self.seconds_per_step()}
            self.run.add(row)
            self.events.losses(row)

    def measure(self) -> None:
        """Score the validation pairs, and update the page."""
        if not self.validation:
            return
        measures, tiles = score_pairs(self.learner.result, self.validation, self.processes)
        if self.processes.first:
            step = self.learner.step
            self.run.add({"step": step, "measures": measures})
            self.write_tiles(f"{step:07}", tiles)
            self.events.measures(step, measures, self.run.mattes)
            write_page(self.run)

    def write_tiles(self, name: str, tiles: list) -> None:
        """Write a strip of tiles as JPEG."""
        held = io.BytesIO()
        stack_tiles(tiles).save(held, "JPEG", quality=85)
        atomic_write_bytes(self.run.mattes / f"{name}.jpg", held.getvalue())

    def seconds_per_step(self) -> float:
        """The mean since this process began."""
        return (time.monotonic() - self.began) / max(1, self.learner.step - self.began_at)

    def close(self) -> None:
        """Write the page a last time, and close TensorBoard's events."""
        if self.events:
            write_page(self.run)
            self.events.close()


@contextmanager
def catch_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets, so that the step can end; a second one interrupts at once.

    In a thread other than the main one, which gets no signals, the event is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
