"""`python -m birefnet cut`: the command's options.

`sources` finds the inputs, `plan` maps them to results, `manifest` records the plan; `steps` is the per-image
pipeline, run by the engines `plain` and `cluster`; `work` is the run as a whole; `places` reads and writes
paths and URLs.
"""

from __future__ import annotations

import argparse

from ..options import (
    CommandError,
    add_despill_option,
    add_frame_option,
    add_network_options,
    add_prompt_options,
    add_refine_option,
    add_storage_options,
    at_least,
)

FORMATS = ("png", "webp", "tif", "exr", "jpg")  # of results in a folder; the first is the usual one


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command `cut`."""
    parser = subparsers.add_parser(
        "cut",
        help="cut the subject out of pictures",
        description="Cuts the subject out of pictures: a cut-out with alpha, its mask, or a new background. "
                    "If a run into a folder was stopped, the same command continues it.",
    )
    parser.add_argument("inputs", nargs="*", metavar="IN",
                        help="picture files, folders, or quoted globs, also as URLs (s3://bucket/photos); "
                             "numbered frames (shot.####.exr); - for a picture on standard input")
    parser.add_argument("--list", action="append", default=[], metavar="FILE",
                        help="a text file with a picture's path or URL on each line, or a .parquet file "
                             "with a column `path`")
    parser.add_argument(
        "-o", "--out", required=True, metavar="OUT",
        help="a .png, .webp, .tif or .exr for one picture, or - for a PNG on standard output; a folder "
             "or its URL for several: results are named <stem>.png, in the subfolders that a glob's ** "
             "matched; cut.####.exr for numbered frames",
    )
    add_network_options(parser)
    add_prompt_options(parser)
    add_refine_option(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--mask", action="store_true", help="write the alpha as 8-bit grey, white = subject")
    kind.add_argument("--background", metavar="COLOUR|FILE",
                      help="lay the subject over a colour or a picture")
    add_frame_option(parser)
    parser.add_argument("--clean-edges", action="store_true",
                        help="remove the old background's colours from hair and other soft edges")
    add_despill_option(parser)
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0],
                        help="format of results in a folder and on standard output (default: %(default)s)")
    parser.add_argument("--quality", type=at_least(1, 100), default=95, metavar="N",
                        help="quality of .jpg results, 1 to 100 (default: %(default)s)")
    add_storage_options(parser)
    parser.add_argument("--exif", action="store_true",
                        help="keep a photograph's EXIF data, without place and serial numbers")
    parser.add_argument("--force", action="store_true", help="overwrite results that exist")
    parser.add_argument("--engine", choices=("plain", "ray"), default="plain",
                        help="plain: in this process; ray: on all cores and GPUs of a machine or a cluster, "
                             "by Ray Data (default: %(default)s)")
    parser.add_argument("--address", metavar="HOST:PORT|auto",
                        help="the Ray cluster to work on, auto for the one around (default: a new one on "
                             "this machine)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Cut all inputs. Exit status: 0 if all results were written, else 1."""
    if not args.inputs and not args.list:
        raise CommandError("nothing to cut: name pictures, folders or globs, or give --list FILE")
    if args.engine == "ray" and "-" in (*args.inputs, args.out):
        raise CommandError("--engine ray supports neither standard input nor standard output; leave "
                           "--engine out")
    if args.address is not None and args.engine != "ray":
        raise CommandError("--address names a Ray cluster: add --engine ray")
    from ..prompts import prompt_options
    from .work import cut

    if prompt_options(args) is not None and args.engine == "ray":
        raise CommandError("--engine ray chooses no subject; leave --engine out, or --box, --point and "
                           "--scribble")

    return cut(args)
