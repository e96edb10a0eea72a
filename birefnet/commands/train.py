"""`python -m birefnet train`: the default checkpoint's training, from installed packages to a .safetensors file."""

from __future__ import annotations

import argparse
from pathlib import Path

LICENSE = "GPL-3.0"  # what the pictures ask for; see weights/LICENSE


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "train", help="train the small default checkpoint again, from freely licensed pictures",
        description="Collects pictures from installed packages (weights/NANO.md lists them) into a cache once, then "
                    "trains on composites. Stopped, the same command goes on where it was.")
    parser.add_argument("out", type=Path, help="folder for the state and birefnet.safetensors")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of the packed cache; made when absent")
    parser.add_argument("--people", type=int, default=400, help="rendered people in a new cache (default 400)")
    parser.add_argument("--steps", type=int, default=2800, help="optimiser steps (default 2800)")
    parser.add_argument("--batch", type=int, default=8, help="pictures per step (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, composites and people (default 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..training.nano.cache import pack
    from ..training.nano.sources import installed
    from ..training.train import Plan, train

    if not (args.pictures / "index.json").exists():
        print(f"packing pictures into {args.pictures}", flush=True)
        pack(args.pictures, installed(args.people, args.seed))
    train(args.pictures, args.out, Plan(steps=args.steps, batch=args.batch, seed=args.seed),
          metadata={"birefnet.name": "birefnet-nano", "birefnet.license": LICENSE},
          report=lambda line: print(line, flush=True))
    return 0
