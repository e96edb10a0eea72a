"""`python -m birefnet video`: the command's options; `work` does it."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

from ..options import (
    add_despill_option,
    add_network_options,
    add_prompt_options,
    add_refine_option,
    add_storage_options,
    at_least,
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command `video`."""
    parser = subparsers.add_parser(
        "video",
        help="cut the subject out of a video",
        description="Cuts the subject out of a video, frame by frame; long videos need no more memory. "
                    "Sound, frame times and colours are kept. Needs the package av.",
    )
    parser.add_argument("input", type=Path, metavar="IN",
                        help="a video file, an animated GIF, WebP or PNG, or numbered pictures "
                             "(shot.####.exr)")
    parser.add_argument(
        "-o", "--out", required=True, type=Path, metavar="OUT",
        help="with transparency: a .webm (VP9), a .mov (ProRes 4444), or a name without suffix, which "
             "becomes a folder of PNG files; with --background or --mask: an .mp4 (H.264); either way an "
             "animated .webp, .png or .gif, or numbered pictures (cut.####.exr, .png, .tif)",
    )
    add_network_options(parser)
    add_prompt_options(parser).add_argument(
        "--frame", type=at_least(0), default=0, metavar="N",
        help="the frame that these options refer to, from 0; the subject is followed from there, forwards "
             "and backwards (default: %(default)s)")
    add_refine_option(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--mask", action="store_true", help="write the alpha as grey, white = subject")
    kind.add_argument(
        "--background", metavar="COLOUR|FILE",
        help="lay the subject over a colour, a picture or another video")
    add_despill_option(parser)
    parser.add_argument(
        "--smoothing", type=float, default=0.0, metavar="S",
        help="reduce flicker: weight of the previous mask in each mask, 0 to 1 (default: %(default)s)")
    parser.add_argument("--codec", choices=("h264", "h265", "av1"),
                        help="codec of an .mp4: h264 plays everywhere, with 8 bits; h265 and av1 make "
                             "smaller files, with 10 bits if the video has them (default: h264)")
    add_storage_options(parser)
    parser.add_argument("--rate", type=frame_rate, default=Fraction(24), metavar="N",
                        help="frames per second of numbered pictures, such as 25 or 24000/1001 (default: 24)")
    parser.add_argument("--force", action="store_true", help="overwrite a result that exists")
    parser.set_defaults(run=run)


def frame_rate(text: str) -> Fraction:
    """Parse "25", "23.976" or "24000/1001"."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"expected frames a second, such as 25 or 24000/1001, got {text}")
    return rate


def run(args: argparse.Namespace) -> int:
    """Matte the video. Exit status 0 if it was written."""
    from .work import matte_video

    return matte_video(args)
