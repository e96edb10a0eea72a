"""Options and mistakes that the subcommands share.

A subcommand has `add_parser(subparsers)` and `run(args) -> int`. It imports PyTorch when it runs, so that help and
mistakes answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

DTYPE_CHOICES = ("auto", "fp32", "fp16", "bf16")


class CommandError(Exception):
    """A user's mistake; the message is one sentence, shown without a traceback."""


@contextlib.contextmanager
def needing(what: str, requirements: str) -> Iterator[None]:
    """Around imports that only `what` needs: a package that is missing becomes a `CommandError` that names the file of
    requirements."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise CommandError(f"{what} needs the package {error.name}: pip install -r {requirements}") from None


class Stacked(NamedTuple):
    """An adapter's file, and how much of it is added to the checkpoint."""

    file: Path
    strength: float = 1.0

    def __str__(self) -> str:
        return f"{self.strength:g} x {self.file.name}"


def adapter(text: str) -> Stacked:
    """"cracks.safetensors" or "cracks.safetensors:0.5"; a colon of the path's own is no trouble."""
    path, colon, number = text.rpartition(":")
    try:
        strength = float(number) if colon else math.nan
    except ValueError:
        strength = math.nan
    stacked = Stacked(Path(path), strength) if math.isfinite(strength) else Stacked(Path(text))
    if not stacked.file.is_file():
        raise argparse.ArgumentTypeError(f"expected FILE or FILE:STRENGTH, and {stacked.file} is no file")
    return stacked


def size(text: str) -> int | tuple[int, int]:
    """"1024" as 1024, "2560x1440" (width × height) as (1440, 2560), height first; each side 64 to 8192."""
    found = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text.lower())
    sides = [int(side) for side in found.groups() if side] if found else []
    if not sides or not all(64 <= side <= 8192 for side in sides):
        raise argparse.ArgumentTypeError(f"expected N or WIDTHxHEIGHT, each 64 to 8192 pixels, got {text}")
    return sides[0] if len(sides) == 1 else (sides[1], sides[0])


def at_least(least: int) -> Callable[[str], int]:
    """A type of options: a whole number from `least` on."""
    def number(text: str) -> int:
        value = int(text) if text.isdecimal() else least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a number of {least} or more, got {text}")
        return value

    return number


def reason(error: OSError) -> str:
    """Which file, and why; in the words of the error itself where it is not the system's."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


LISTED = 3  # names in a message; of more, their number


def listing(names: list[str]) -> str:
    """"a.txt, b.txt, c.txt and 4 more"."""
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """--model, --adapter, --size and --dtype: which checkpoint runs, and how."""
    parser.add_argument(
        "--model", default="birefnet-nano", metavar="NAME|FILE",
        help="checkpoint: a name of the catalog or a file (default: %(default)s, which is included)",
    )
    add_adapter_option(parser)
    parser.add_argument(
        "--size", type=size, metavar="N|WxH",
        help="pixels that the network sees, a square or width x height (default: the checkpoint's own)",
    )
    parser.add_argument(
        "--dtype", choices=DTYPE_CHOICES, default="auto",
        help="number format of the computation (default: auto, half precision where the device is good at it)",
    )


def add_adapter_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--adapter", type=adapter, action="append", default=[], dest="adapters", metavar="FILE[:STRENGTH]",
        help="what fine-tuning made, added to the checkpoint, by default at strength 1; several add up",
    )
