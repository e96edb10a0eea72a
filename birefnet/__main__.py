"""`python -m birefnet`: the command line; each subcommand is a module or package of `cli`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from . import __version__
from .cli.options import CommandError

COMMANDS = ("cut", "eval", "export", "fetch", "train", "video")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; the exit status: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted."""
    # Read when PyTorch is loaded, which is later: beside other programs, threads that wait for each other
    # must not keep the cores busy (device/threads.py).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    parser = argparse.ArgumentParser(prog="python -m birefnet",
                                     description="BiRefNet: cut subjects out of pictures.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f".cli.{name}", __package__).add_parser(subparsers)
    args = parser.parse_args(arguments)
    if not hasattr(args, "run"):
        parser.print_help()
        return 0
    try:
        return args.run(args)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
