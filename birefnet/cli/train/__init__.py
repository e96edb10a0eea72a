"""`python -m birefnet train`: the command's options; `work` does it."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import weights

from ...training.plan import AUGMENTATIONS, BATCH, OPTIMIZERS, TASKS, Phase, Size
from ..options import DTYPE_CHOICES, at_least, explain_missing_package


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command `train`."""
    parser = subparsers.add_parser(
        "train", help="train or fine-tune a checkpoint on your own pictures",
        description="Trains a network on pictures with known masks, with the losses and the schedule of "
                    "BiRefNet's authors. The pictures are checked before the first step. "
                    "RUN/trained.safetensors is the trained checkpoint, which nodes and commands load; "
                    "RUN/report.html shows losses and measures, as does `tensorboard --logdir RUN` during "
                    "the run. If the run is stopped, the same command resumes it. To use several GPUs, start "
                    "it by torchrun or `accelerate launch`.")
    parser.add_argument("data", type=Path, metavar="DATA",
                        help="folder with im/ and gt/ (files of the same name), or a folder of such folders")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="RUN",
                        help="folder for the results and the state of the run")

    start = parser.add_argument_group("initial network")
    start.add_argument("--init", metavar="NAME|FILE|scratch",
                       help="checkpoint to train further: a name of the catalog or a file (default: "
                            f"{weights.DEFAULT}); or scratch, for random weights of a --build")
    start.add_argument("--build", metavar="NAME",
                       help="for --init scratch: nano, an encoder of the authors' builds, such as swin_v1_t, "
                            "swin_v1_l, pvt_v2_b0, or timm:NAME for one of timm's, such as "
                            "timm:convnext_femto")
    start.add_argument("--encoder", metavar="FILE|hub",
                       help="for --build timm:NAME: pretrained weights of the encoder, a file of timm's, or "
                            "hub to download them (default: random weights)")

    settings = parser.add_argument_group("training settings")
    settings.add_argument("--task", choices=TASKS,
                          help="what the checkpoint is for; sets the weights of the losses and the defaults "
                               "of --rate and --augment (default: general)")
    length = settings.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=_positive, metavar="N",
                        help="number of passes over all pictures (default: 20)")
    length.add_argument("--steps", type=at_least(1), metavar="N",
                        help="number of optimiser steps, instead of --epochs")
    settings.add_argument("--batch", type=at_least(1), metavar="N",
                          help=f"pictures per step, summed over all processes (default: {BATCH})")
    settings.add_argument("--optimizer", choices=OPTIMIZERS,
                          help="adamw, as the authors use (default), or muon, which needs fewer pictures "
                               "when training from scratch (it is in timm 1.0.21 and newer)")
    settings.add_argument("--rate", type=_positive, metavar="R",
                          help="peak learning rate (default: 1e-4 for the task dis, 1e-5 for others, times "
                               f"the square root of batch/{BATCH})")
    settings.add_argument("--warm-up", type=at_least(0), metavar="N",
                          help="steps over which the learning rate rises from 0 (default: 0)")
    settings.add_argument("--cosine", action="store_true",
                          help="decrease the learning rate along a cosine (default: constant)")
    settings.add_argument("--final", type=_part, metavar="SHARE",
                          help="last share of the steps, trained without the cross-entropy loss (default: "
                               "0.1)")
    size = settings.add_mutually_exclusive_group()
    size.add_argument("--size", type=_size, metavar="N|WxH|LOW-HIGH",
                      help="size in pixels to which pictures are resized for the network (default: the "
                           "checkpoint's own); LOW-HIGH draws random sides for each batch and makes a "
                           "checkpoint for any size")
    size.add_argument("--phase", type=_phase, action="append", metavar="SIZE:SHARE",
                      help="train at this size for this share of the steps, such as 256:0.7; repeat it for "
                           "the following phases, so that the shares add up to 1")
    settings.add_argument("--average", type=_part, metavar="D",
                          help="decay of the exponential moving average (EMA) of the weights, which is saved "
                               "as the result (default: 0.998; 0: no average)")
    settings.add_argument("--no-dropout", action="store_true",
                          help="train without the authors' dropout of 0.5; the build of the included "
                               "checkpoint never has any")
    settings.add_argument("--seed", type=int, default=0,
                          help="seed of all random numbers (default: %(default)s)")

    data = parser.add_argument_group("pictures")
    data.add_argument("--augment", type=_augmentations, metavar="LIST",
                      help=f"random changes of the pictures, with commas between: {','.join(AUGMENTATIONS)}; "
                           "or none (default: flip,enhance,rotate,pepper; for matting flip,enhance,rotate)")
    data.add_argument("--backgrounds", type=Path, metavar="FOLDER",
                      help="composite half of the subjects over random pictures of this folder")
    held = data.add_mutually_exclusive_group()
    held.add_argument("--validate", type=Path, metavar="DATA",
                      help="pictures for validation, in folders as DATA")
    held.add_argument("--hold-out", type=_share, metavar="SHARE",
                      help="share of DATA for validation instead of training (default: 0.1, but at most "
                           "16 pictures)")
    data.add_argument("--skip-bad", action="store_true",
                      help="leave out files that cannot be used, instead of stopping")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--dtype", choices=DTYPE_CHOICES, default="auto",
                         help="number format of mixed precision (default: bf16 where the device is fast at "
                              "it, fp16 on older GPUs, else fp32)")
    machine.add_argument("--accumulate", type=at_least(1), default=1, metavar="N",
                         help="split each batch into N parts and accumulate their gradients, which needs "
                              "less memory (default: %(default)s)")
    machine.add_argument("--recompute", action="store_true",
                         help="recompute activations in the backward pass (gradient checkpointing): less "
                              "memory, about a third slower")
    machine.add_argument("--workers", type=at_least(0), default=max(1, (os.cpu_count() or 2) - 1),
                         metavar="N", help="processes that load and augment pictures (default: %(default)s)")
    machine.add_argument("--save-every", type=at_least(1), default=200, metavar="N",
                         help="steps between saved states (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train. Exit status: 0 at the end of the run, 1 if data are bad, 130 if stopped."""
    with explain_missing_package("train", "requirements-train.txt"):
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
