"""`python -m birefnet train`: the command's options; `work` does it."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from ...training.plan import AUGMENTATIONS, OPTIMIZERS, TASKS, Phase, Size
from ..options import DTYPE_CHOICES, at_least, needing


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command `train`."""
    parser = subparsers.add_parser(
        "train", help="teach a checkpoint your own pictures, or make one from scratch",
        description="Teaches a checkpoint pictures with known masks, as the authors of BiRefNet do. The "
                    "pictures are checked before the first step. RUN/trained.safetensors loads at once; "
                    "RUN/report.html shows how it went, `tensorboard --logdir RUN` how it goes. Stopped, "
                    "the same command goes on where it was. torchrun or `accelerate launch` in front of it "
                    "uses several GPUs.")
    parser.add_argument("data", type=Path, metavar="DATA",
                        help="folder with im/ and gt/ (files of the same name), or a folder of such folders")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="RUN", help="folder of the run")

    start = parser.add_argument_group("initial network")
    start.add_argument("--init", metavar="NAME|FILE|scratch",
                       help="checkpoint to go on from: a name of the catalog or a file (default: "
                            "birefnet-nano), or scratch: fresh weights of a --build")
    start.add_argument("--build", metavar="NAME",
                       help="for --init scratch: nano, an encoder of the authors' builds, such as swin_v1_t, "
                            "swin_v1_l, pvt_v2_b0, or timm:NAME for one of timm's, such as "
                            "timm:convnext_femto")
    start.add_argument("--encoder", metavar="FILE|hub",
                       help="for --build timm:NAME: what the encoder has learnt elsewhere, a file of timm's "
                            "weights, or hub to download timm's own (default: fresh weights)")

    teach = parser.add_argument_group("how it is taught")
    teach.add_argument("--task", choices=TASKS,
                       help="what for: decides losses, rate and augmentations (default: general)")
    length = teach.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=_positive, metavar="N", help="times that each picture is seen "
                                                                      "(default: 20)")
    length.add_argument("--steps", type=at_least(1), metavar="N", help="optimiser steps, instead of epochs")
    teach.add_argument("--batch", type=at_least(1), metavar="N",
                       help="pictures per step, of all processes together (default: 4)")
    teach.add_argument("--optimizer", choices=OPTIMIZERS,
                       help="adamw as the authors (default), or muon, which learns more from each picture "
                            "in training from scratch (it needs timm 1.0.21 or newer)")
    teach.add_argument("--rate", type=_positive, metavar="R",
                       help="learning rate (default: the task's, 1e-5, for dis 1e-4, times the root of "
                            "batch/4)")
    teach.add_argument("--warm-up", type=at_least(0), metavar="N", help="steps in which the rate rises "
                                                                        "(default: 0)")
    teach.add_argument("--cosine", action="store_true", help="let the rate fall along a cosine (it stays by "
                                                             "default)")
    teach.add_argument("--final", type=_part, metavar="SHARE",
                       help="share of the steps, at the end, without cross-entropy (default: 0.1)")
    size = teach.add_mutually_exclusive_group()
    size.add_argument("--size", type=_size, metavar="N|WxH|LOW-HIGH",
                      help="pixels that the network sees (default: the checkpoint's own); a range draws the "
                           "sides of each batch and makes a checkpoint for any size")
    size.add_argument("--phase", type=_phase, action="append", metavar="SIZE:SHARE",
                      help="part of the run: network size and share of the steps; repeat it, shares add up "
                           "to 1")
    teach.add_argument("--average", type=_part, metavar="D",
                       help="decay of the averaged weights, which are the result (default: 0.998; 0: no "
                            "average)")
    teach.add_argument("--no-dropout", action="store_true",
                       help="without the authors' dropout of 0.5, as always for the included checkpoint's "
                            "small build")
    teach.add_argument("--seed", type=int, default=0, help="of all random numbers (default: %(default)s)")

    data = parser.add_argument_group("pictures")
    data.add_argument("--augment", type=_augmentations, metavar="LIST",
                      help=f"of {','.join(AUGMENTATIONS)}, or none (default: flip,enhance,rotate,pepper; "
                           "for matting without pepper)")
    data.add_argument("--backgrounds", type=Path, metavar="FOLDER",
                      help="lay half of the subjects over pictures of this folder")
    held = data.add_mutually_exclusive_group()
    held.add_argument("--validate", type=Path, metavar="DATA", help="pictures to measure on, in folders as "
                                                                    "DATA")
    held.add_argument("--hold-out", type=_share, metavar="SHARE",
                      help="share of DATA that is measured on instead of learnt from (default: 0.1, at most "
                           "16)")
    data.add_argument("--skip-bad", action="store_true",
                      help="leave out files that cannot be used, instead of stopping")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--dtype", choices=DTYPE_CHOICES, default="auto",
                         help="number format of mixed precision (default: bf16 where the device is fast at "
                              "it, fp16 on older GPUs, else fp32)")
    machine.add_argument("--accumulate", type=at_least(1), default=1, metavar="N",
                         help="compute a batch in N pieces, for memory (default: %(default)s)")
    machine.add_argument("--recompute", action="store_true",
                         help="recompute activations in the backward pass: less memory, about a third slower")
    machine.add_argument("--workers", type=at_least(0), default=max(1, (os.cpu_count() or 2) - 1),
                         metavar="N", help="processes that prepare pictures (default: %(default)s)")
    machine.add_argument("--save-every", type=at_least(1), default=200, metavar="N",
                         help="steps between saved states (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train. Exit status: 0 at the end of the run, 1 if data are bad, 130 if stopped."""
    with needing("train", "requirements-train.txt"):
        from .work import train
    return train(args)


def _part(text: str) -> float:
    """Parse a share in 0..1, 1 excluded."""
    return 0.0 if text in ("0", "0.0") else _share(text)


def _positive(text: str) -> float:
    """Parse a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


def _share(text: str) -> float:
    """Parse a share in 0..1, both excluded."""
    number = _positive(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, got {text}")
    return number


def _size(text: str) -> Size:
    """Parse a size or a range of sizes, see `Size.parse`."""
    try:
        return Size.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _phase(text: str) -> Phase:
    """Parse "SIZE:SHARE"."""
    size, _, share = text.partition(":")
    return Phase(_positive(share), _size(size))


def _augmentations(text: str) -> tuple[str, ...]:
    """Parse names of AUGMENTATIONS with commas between, or "none"."""
    names = tuple(name.strip() for name in text.split(",")) if text != "none" else ()
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected names of {', '.join(AUGMENTATIONS)}, or none; got "
                                         f"{unknown[0]}")
    return names
