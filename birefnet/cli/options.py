"""Options and errors that the subcommands share.

A subcommand has `add_parser(subparsers)` and `run(args) -> int`. It imports PyTorch only when it runs, so
that help and errors in the options appear at once.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import weights

from ..network.sides import MAX_SIDE, MIN_SIDE

DTYPE_CHOICES = ("auto", "fp32", "fp16", "bf16")


class CommandError(Exception):
    """A user's mistake; the message is one sentence, shown without a traceback."""


@contextlib.contextmanager
def explain_missing_package(what: str, requirements: str) -> Iterator[None]:
    """A context for optional imports: a missing package becomes a CommandError that names the file of
    requirements.

    what: the command or option that needs the packages. requirements: the file's name.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise CommandError(f"Install {error.name} for {what}: pip install -r {requirements}") from None


class AdapterOption(NamedTuple):
    """An adapter's file, and the strength at which it is added to the checkpoint."""

    file: Path
    strength: float = 1.0

    def __str__(self) -> str:
        return f"{self.strength:g} x {self.file.name}"


def adapter(text: str) -> AdapterOption:
    """Parse "cracks.safetensors" or "cracks.safetensors:0.5"; the path may contain colons."""
    path, colon, number = text.rpartition(":")
    try:
        strength = float(number) if colon else math.nan
    except ValueError:
        strength = math.nan
    option = AdapterOption(Path(path), strength) if math.isfinite(strength) else AdapterOption(Path(text))
    if not option.file.is_file():
        raise argparse.ArgumentTypeError(f"expected FILE or FILE:STRENGTH, and {option.file} is no file")
    return option


def size(text: str) -> int | tuple[int, int]:
    """Parse "1024" as 1024, and "2560x1440" (width × height) as (1440, 2560); sides from MIN_SIDE to
    MAX_SIDE pixels."""
    found = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text.lower())
    sides = [int(side) for side in found.groups() if side] if found else []
    if not sides or not all(MIN_SIDE <= side <= MAX_SIDE for side in sides):
        raise argparse.ArgumentTypeError(f"expected N or WIDTHxHEIGHT, each {MIN_SIDE} to {MAX_SIDE} pixels, "
                                         f"got {text}")
    return sides[0] if len(sides) == 1 else (sides[1], sides[0])


def at_least(least: int, most: float = math.inf) -> Callable[[str], int]:
    """An option's type: an integer of at least `least`, and at most `most`."""
    def number(text: str) -> int:
        value = int(text) if text.isdecimal() else least - 1
        if not least <= value <= most:
            wanted = f"{least} or more" if most == math.inf else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"expected a number of {wanted}, got {text}")
        return value

    return number


def file_name(suffix: str, *beside: str) -> Callable[[str], Path]:
    """An option's type: a file name that ends in `suffix`. beside: suffixes of files written beside it."""
    def file(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() != suffix:
            raise argparse.ArgumentTypeError(f"expected a file name that ends in {suffix}, got {text}")
        for written in (path, *map(path.with_suffix, beside)):
            if written.is_dir():
                raise argparse.ArgumentTypeError(f"expected a file name, and {written} is a folder")
        return path

    return file


def describe_os_error(error: OSError) -> str:
    """Describe an error: the file and the system's reason, or else the error's own message."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


MAX_LISTED = 3  # names in a message; the others are counted


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """--model, --adapter, --size and --dtype: which checkpoint runs, and how."""
    parser.add_argument(
        "--model", default=weights.DEFAULT, metavar="NAME|FILE",
        help="checkpoint: a name of the catalog or a file (default: %(default)s, which is included)",
    )
    add_adapter_option(parser)
    parser.add_argument(
        "--size", type=size, metavar="N|WxH",
        help="pixels that the network sees, a square or width x height (default: the checkpoint's own)",
    )
    parser.add_argument(
        "--dtype", choices=DTYPE_CHOICES, default="auto",
        help="number format of the computation (default: auto, half precision where the device is fast at "
             "it)",
    )


# Operators of --refine: arguments of birefnet.masks.refine.
REFINE = {"levels": ("black", "white"), "largest": ("largest",), "specks": ("specks",), "holes": ("fill",),
          "grow": ("grow",), "feather": ("feather",)}


def refine(text: str) -> dict[str, float]:
    """Parse "levels=0.1:0.9,largest=1,holes=400" to arguments of birefnet.masks.refine."""
    arguments = {}
    for part in text.split(","):
        name, _, given = part.strip().partition("=")
        numbers = given.split(":")
        if name not in REFINE or len(numbers) != len(REFINE[name]):
            raise argparse.ArgumentTypeError(
                "expected operators such as levels=0.1:0.9,largest=1,specks=50,holes=400,grow=-1,feather=1; "
                f"got {part.strip() or 'nothing'}")
        for argument, number in zip(REFINE[name], numbers):
            try:
                value = float(number)
            except ValueError:
                value = math.nan
            if not math.isfinite(value) or value < 0 and name != "grow" or name == "levels" and value > 1:
                raise argparse.ArgumentTypeError(f"expected a number for {name} (0 or more; grow also below "
                                                 f"0; levels up to 1), got {number}")
            arguments[argument] = int(value) if name == "largest" else value
    if arguments.get("black", 0) >= arguments.get("white", 1):
        raise argparse.ArgumentTypeError(f"expected levels=BLACK:WHITE with BLACK below WHITE, got {text}")
    return arguments


def add_refine_option(parser: argparse.ArgumentParser) -> None:
    """--refine: operators on the matte."""
    parser.add_argument(
        "--refine", type=refine, default={}, metavar="OPERATORS",
        help="clean the matte at the picture's size, with the operators of Refine Mask: levels=BLACK:WHITE "
             "(clears haze below BLACK, makes opaque above WHITE), largest=N (pieces to keep), specks=AREA, "
             "holes=AREA (square pixels), grow=PIXELS, feather=PIXELS; several with commas between")


def add_frame_option(parser: argparse.ArgumentParser) -> None:
    """--frame: the canvas, see cut/frame.py."""
    parser.add_argument(
        "--frame", metavar="WxH,NAME=VALUE,...",
        help="put the subject on a canvas of W x H pixels, with the settings of Frame Subject: "
             "margin=5%%|40px, position=centre|bottom|keep, ground=PERCENT, scale_by=fit|height|area, "
             "share=PERCENT, aspect=W:H, multiple=N, threshold=ALPHA, shadow=none|contact|drop, "
             "shadow_strength, shadow_softness, shadow_x, "
             "shadow_y; without a canvas, crop to the subject and its margin",
    )


MEASURED = "measured"  # value of --despill: measure the screen's colour in the picture


def screen(text: str) -> str:
    """Check the text of --despill: returns MEASURED, or the text of a CSS colour, which is parsed later."""
    if text.strip().lower() == MEASURED:
        return MEASURED
    from ..imaging.colour import parse_colour

    try:
        parse_colour(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {MEASURED} or a colour (green, #00b140), got {text}"
                                         ) from None
    return text


def add_despill_option(parser: argparse.ArgumentParser) -> None:
    """--despill: the screen whose light is removed."""
    parser.add_argument(
        "--despill", type=screen, metavar=f"COLOUR|{MEASURED}",
        help="remove the light of a green or blue screen from the subject, in linear light; alpha is not "
             f"changed. Give the screen's colour, or {MEASURED} to measure it along the picture's border")


def add_storage_options(parser: argparse.ArgumentParser) -> None:
    """--depth, --linear and --premultiplied: how pictures are stored."""
    parser.add_argument("--depth", choices=("8", "16", "half", "float"),
                        help="bits per sample of the result: 16 in .png and .tif, half or float in .exr and "
                             ".tif (default: 8; in .exr half, or float as the input)")
    parser.add_argument("--linear", action="store_true",
                        help="the inputs are linear light, as .exr always is: the network sees them as "
                             "sRGB, and the result keeps their values")
    parser.add_argument("--premultiplied", action="store_true",
                        help="multiply colours by alpha in .exr and .tif (default: straight alpha)")


def box(text: str) -> tuple[int, int, int, int]:
    """Parse "x,y,width,height", in pixels."""
    numbers = _numbers(text, 4)
    if numbers is None or min(numbers[2:]) < 1:
        raise argparse.ArgumentTypeError(f"expected X,Y,WIDTH,HEIGHT in pixels, got {text}")
    return numbers


def point(text: str) -> tuple[int, int]:
    """Parse "x,y", in pixels."""
    numbers = _numbers(text, 2)
    if numbers is None:
        raise argparse.ArgumentTypeError(f"expected X,Y in pixels, got {text}")
    return numbers


def _numbers(text: str, count: int) -> tuple[int, ...] | None:
    """Parse `count` integers with commas between; None for any other text."""
    found = re.fullmatch(r"\s*-?\d{1,6}\s*" + r",\s*-?\d{1,6}\s*" * (count - 1), text)
    return tuple(map(int, text.split(","))) if found else None


def add_prompt_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that choose one of several subjects. Returns their group."""
    group = parser.add_argument_group(
        "which subject", "chooses one of several; the options can be combined; coordinates are pixels of the "
                         "upright picture")
    group.add_argument("--box", type=box, action="append", default=[], metavar="X,Y,W,H",
                       help="the subject in this box; repeat it for several subjects; --box=-5,0,90,60 if it "
                            "begins outside the picture")
    group.add_argument("--point", type=point, action="append", default=[], metavar="X,Y",
                       help="a pixel of the subject; may be repeated")
    group.add_argument("--not-point", type=point, action="append", default=[], metavar="X,Y",
                       help="a pixel of anything else; may be repeated")
    group.add_argument("--scribble", type=Path, action="append", default=[], metavar="FILE",
                       help="a picture of the same size, drawn in white or a bright colour on black or on "
                            "nothing, where a stroke touches the subject or where a coarse mask covers it; "
                            "it counts as a stroke if it is nowhere wider than 6 %% of the longer side, "
                            "and 25 %% of the shorter")
    return group


def add_adapter_option(parser: argparse.ArgumentParser) -> None:
    """--adapter: adapters and their strengths."""
    parser.add_argument(
        "--adapter", type=adapter, action="append", default=[], dest="adapters", metavar="FILE[:STRENGTH]",
        help="an adapter from fine-tuning, and its strength (default: 1); may be repeated",
    )
