"""Build a run (network, pictures, plan) from the command's options, and start the engine."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import weights

from ... import BiRefNet, __version__, is_out_of_memory
from ...data.batches import BatchSource
from ...data.pairs import Pair, is_hidden
from ...device import dtypes
from ...files.packages import PackageError
from ...imaging import pictures
from ...network.builds import is_nano
from ...network.config import DYNAMIC_RANGE
from ...training.engine import Interrupted
from ...training.engine import train as run_engine
from ...training.learner import disable_dropout
from ...training.pair_batches import PairBatches
from ...training.plan import BATCH, TASKS, Phase, Size, TrainingPlan, default_rate
from ...training.processes import Processes, start_processes
from ...training.run_folder import Damaged, OtherRun, RunFolder
from ..messages import say
from ..options import CommandError, describe_os_error, explain_missing_package
from .data import gather
from .initial import InitialNetwork, load_initial

DEFAULT_EPOCHS = 20
ROOT = Path(__file__).parents[3]


class Setup(NamedTuple):
    """A run. settings: recorded in its folder; a run resumed with other settings is refused."""

    model: BiRefNet
    plan: TrainingPlan
    source: BatchSource
    validation: list[Pair]
    settings: dict[str, object]
    metadata: dict[str, str]


def train(args: argparse.Namespace) -> int:
    """Train as the options say. Exit status 0.

    Raises:
        CommandError: data, checkpoint or options cannot be used, or memory runs out.
        KeyboardInterrupt: the run was stopped, and has saved its state.
    """
    with explain_missing_package("a run of several processes", "requirements-train.txt"):
        processes = start_processes()
    run = RunFolder(args.out)
    try:
        setup = from_folder(args, run, processes)
        if processes.first:
            run.begin(setup.settings)
        processes.wait()
        run_engine(run, setup.plan, setup.model, setup.source, processes, workers=args.workers,
                   validation=setup.validation, recompute=args.recompute, save_every=args.save_every,
                   metadata=setup.metadata)
    except (OtherRun, Damaged, PackageError, FloatingPointError) as error:
        raise CommandError(str(error)) from None
    except pictures.PictureError as error:  # a worker's error begins with its traceback
        raise CommandError(str(error).rpartition("PictureError: ")[2].replace("\\n", " ").strip()) from None
    except OSError as error:
        raise CommandError(describe_os_error(error)) from None
    except Interrupted:
        raise KeyboardInterrupt from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError("not enough memory: take a smaller --batch or --size, --accumulate or "
                           "--recompute") from None
    if processes.first:
        say(f"written: {run.checkpoint}, {run.report.name}")
    return 0


def from_folder(args: argparse.Namespace, run: RunFolder, processes: Processes) -> Setup:
    """Set up a run on the pairs of the folder DATA."""
    initial = load_initial(args.init or weights.DEFAULT, args.build, args.seed, args.encoder)
    backgrounds = picture_files(args.backgrounds) if args.backgrounds else []
    data = gather(args.data, args.validate, args.hold_out, args.skip_bad, args.seed, run.checked,
                  os.cpu_count() or 1, processes)
    task, batch = args.task or "general", args.batch or BATCH
    steps = args.steps or max(1, -(-round((args.epochs or DEFAULT_EPOCHS) * len(data.pairs)) // batch))
    defaults = TrainingPlan(steps, task, batch, default_rate(task, batch),
                            augmentations=TASKS[task].augmentations)
    plan = make_plan(args, defaults, processes, trained_size(initial))
    dropout = not (args.no_dropout or is_nano(initial.model.config))
    if not dropout:
        disable_dropout(initial.model)
    size = plan.phases[-1].size.single
    initial.model.config = replace(initial.model.config, size=size, task=TASKS[task].purpose)
    source = PairBatches(data.pairs, plan, backgrounds, processes.rank, processes.count)
    settings = {**plan.describe(), "dropout": dropout, "init": args.init or weights.DEFAULT,
                "build": args.build, "data": str(args.data.resolve()), "pictures": len(data.pairs),
                "held_out": len(data.validation), "fingerprint": data.fingerprint,
                **({"encoder": args.encoder} if args.encoder else {}),
                "backgrounds": str(args.backgrounds.resolve()) if args.backgrounds else None}
    metadata = {**initial.metadata, "birefnet.data": data.fingerprint, **origin()}
    return Setup(initial.model, plan, source, data.validation, settings, metadata)


def make_plan(args: argparse.Namespace, plan: TrainingPlan, processes: Processes, own: Size | None = None
              ) -> TrainingPlan:
    """Replace a plan's defaults by the given options. own: the size if no option sets one; None for the
    plan's."""
    asked = {entry.name: getattr(args, entry.name, None) for entry in fields(TrainingPlan)}
    given = {name: value for name, value in asked.items() if value is not None and value is not False}
    given["dtype"] = (args.dtype if args.dtype != "auto" else
                      dtypes.name(dtypes.training_dtype(processes.device)))
    if args.average == 0:
        given["average"] = None
    if args.augment is not None:
        given["augmentations"] = args.augment
    if args.phase:
        given["phases"] = tuple(args.phase)
    elif args.size or own:
        given["phases"] = (Phase(1.0, args.size or own),)
    plan = replace(plan, **given)
    if abs(sum(phase.share for phase in plan.phases) - 1) > 1e-6:
        raise CommandError(f"the shares of --phase add up to {sum(phase.share for phase in plan.phases):g}; "
                           "expected 1")
    if plan.batch % processes.count:
        raise CommandError(f"--batch {plan.batch} cannot be shared by {processes.count} processes alike")
    return plan


def trained_size(initial: InitialNetwork) -> Size:
    """The size that the checkpoint was trained at; for one without a fixed size, a range."""
    size = initial.model.config.size
    if size is None:
        low, high = DYNAMIC_RANGE
        return Size((low, low), (high, high))
    return Size.fixed(*size)


def picture_files(folder: Path) -> list[Path]:
    """All pictures in a folder and below. Raises CommandError if there are none."""
    found = sorted(path for path in folder.rglob("*")
                   if path.suffix.lower() in pictures.suffixes() and not is_hidden(path, folder))
    if not found:
        raise CommandError(f"--backgrounds {folder}: no pictures found there")
    return found


def origin() -> dict[str, str]:
    """Metadata: the code's version, and the command."""
    commit = f"version {__version__}"
    # In a copy without .git, git would describe a repository around it.
    if (ROOT / ".git").exists() and shutil.which("git"):
        done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                              capture_output=True, text=True)
        commit = done.stdout.strip() or commit
    return {"birefnet.commit": commit, "birefnet.command": f"python -m birefnet {shlex.join(sys.argv[1:])}"}
