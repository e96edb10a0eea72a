"""`python -m birefnet cut`: the words of the command; `plan` decides what becomes what, `work` does it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .work import cut


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "cut",
        help="cut the subject out of pictures",
        description="Cuts the subject out of pictures: a cut-out with alpha, its mask, or a new background.",
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="picture files, folders of them, or quoted globs")
    parser.add_argument(
        "-o", "--out", required=True, type=Path, metavar="OUT",
        help="a .png, .webp or .tif for one picture; a folder for several: each result is <stem>.png there",
    )
    parser.add_argument(
        "--model", default="birefnet-nano", metavar="NAME|FILE",
        help="checkpoint: a name of the catalog or a file (default: %(default)s, which is included)",
    )
    parser.add_argument(
        "--size", type=size, metavar="N|WxH",
        help="pixels that the network sees, a square or width x height (default: the checkpoint's own)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--mask", action="store_true", help="write the alpha as 8-bit grey, white = subject")
    kind.add_argument("--background", metavar="COLOUR|FILE", help="lay the subject over a colour or a picture")
    parser.add_argument("--force", action="store_true", help="overwrite results that exist")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Cuts all inputs; 0 where every one was written, else 1."""
    return cut(args.inputs, args.out, args.model, args.size, args.mask, args.background, args.force)


def size(text: str) -> int | tuple[int, int]:
    """"1024" as 1024, "2560x1440" (width × height) as (1440, 2560), height first; each side 64 to 8192."""
    found = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text.lower())
    sides = [int(side) for side in found.groups() if side] if found else []
    if not sides or not all(64 <= side <= 8192 for side in sides):
        raise argparse.ArgumentTypeError(f"expected N or WIDTHxHEIGHT, each 64 to 8192 pixels, got {text}")
    return sides[0] if len(sides) == 1 else (sides[1], sides[0])
