"""Runs the requested measurements, prints their tables and writes them as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

import torch

from birefnet import __version__
from birefnet.cli.options import CommandError
from birefnet.device.dtypes import best_dtype
from birefnet.device.dtypes import name as short

from .contest import Checkpoint, contest, measure_video
from .runtime import RUNTIMES
from .table import contest_table, video_table


def report(args: argparse.Namespace) -> int:
    """Run everything that the command line asks for. Returns 1 if one of our forms failed, else 0.

    Raises:
        CommandError: an argument is wrong, or a video's contender failed.
    """
    if args.reference and not (args.reference / "models" / "birefnet.py").is_file():
        raise CommandError(f"--reference {args.reference}: expected a checkout of the authors' repository, "
                           "with models/birefnet.py in it")
    if args.json and not args.json.parent.is_dir():
        raise CommandError(f"--json {args.json}: there is no folder {args.json.parent}")
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    dtypes = list(dict.fromkeys(short(best_dtype(device)) if dtype == "auto" else dtype
                                for dtype in args.dtype))
    machine = describe(device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    found: dict = {"machine": machine}
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = [Checkpoint(name, Path(scratch)) for name in args.model]
        plans = [(checkpoint, size) for checkpoint in checkpoints for size in args.sizes or [None]]
        if args.frames:
            found["videos"] = [measure_video(checkpoint, size, dtype, device, args.frames)
                               for checkpoint, size in plans for dtype in dtypes]
            print(video_table(found["videos"]))
        else:
            found["contests"] = []
            for checkpoint, size in plans:
                result = contest(checkpoint, checkpoint.size(size), dtypes, device, args.runs, args.reference,
                                 args.runtimes)
                found["contests"].append(result)
                print("", contest_table(result), sep="\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if any("error" in row for result in found.get("contests", []) for row in result["rows"]
                    if row["form"] not in ("authors", *RUNTIMES)) else 0


def describe(device: str) -> dict:
    """Return versions and hardware, on which the numbers depend."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {"birefnet": __version__, "torch": torch.__version__, "python": platform.python_version(),
            "device": device, "name": name,
            "threads": torch.get_num_threads(), "cores": os.cpu_count()}


def processor() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
