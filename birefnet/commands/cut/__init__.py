"""`python -m birefnet cut`: the words of the command; `plan` decides what becomes what, `work` does it."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import add_network_options


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
    add_network_options(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--mask", action="store_true", help="write the alpha as 8-bit grey, white = subject")
    kind.add_argument("--background", metavar="COLOUR|FILE", help="lay the subject over a colour or a picture")
    parser.add_argument("--clean-edges", action="store_true",
                        help="take the old background's colours out of hair and other soft edges")
    parser.add_argument("--force", action="store_true", help="overwrite results that exist")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Cuts all inputs; 0 where every one was written, else 1."""
    from .work import cut

    return cut(args.inputs, args.out, args.model, args.dtype, args.size, args.mask, args.background, args.clean_edges,
               args.force)
