"""`python -m tools.bench`: measures the network's speed and memory, and the hardware's limit.

Each contender (the authors' code, the plain form, the inference form, on CUDA also the inference form
replayed as a CUDA graph; each in each number format) runs in its own process, loads the same checkpoint and
gets the same image. `--runtimes` adds others, each in a process without PyTorch: onnxruntime on the exported
file with DeformConv and on the portable one, and OpenVINO on the portable one. The contenders take turns: one
untimed round, whose results are compared, then `--runs` timed ones. A pass is the network alone, from the
normalised image to the logits.

- seconds: the median of a contender's passes.
- peak: the highest resident memory of its process, including PyTorch and the loading; on a GPU the highest
  memory that PyTorch's allocator held.
- times, memory: speed and peak relative to the first line: the authors' code in fp32 if it is given, else the
  plain form.
- floor: the least time that the hardware needs, as a share of `seconds`. It is the number of floating-point
  operations in the plain form (from PyTorch's flop counter: convolutions, matrix products and attention; a
  deformable convolution counts as its matrix product) divided by the best rate of a large matrix product in
  the same format (see `rate`), measured in turns with the contenders.
- difference: the largest absolute difference of alpha from the plain form's in fp32.

An encoder's name ("swin_v1_l", "timm:convnext_femto") stands for the authors' build on it with random
weights. With `--frames N` a video of 854×480 is matted instead, frame by frame, from RGB to alpha at the
frames' size.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from birefnet.cli.options import DTYPE_CHOICES, CommandError, at_least, size

from .runtime import RUNTIMES


def main(arguments: list[str] | None = None) -> int:
    """Print a table for each model and size. Returns 1 if usage is wrong or one of our forms failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description="Times the network's plain and inference form (and the authors' code), each in a process "
                    "of its own and by turns, with peak memory and the share of what the hardware could do.")
    parser.add_argument("--model", nargs="+", default=["birefnet-nano"], metavar="NAME|FILE|ENCODER",
                        help="checkpoints, or encoders such as swin_v1_l and timm:convnext_femto with random "
                             "weights (default: birefnet-nano)")
    parser.add_argument("--sizes", nargs="+", type=size, metavar="N|WxH",
                        help="what the network sees, pixels (default: the checkpoint's own size)")
    parser.add_argument("--dtype", nargs="+", choices=DTYPE_CHOICES, default=["fp32"],
                        help="number formats (default: fp32)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto",
                        help="default: the GPU where PyTorch has one, else the CPU")
    parser.add_argument("--runs", type=at_least(1), default=3,
                        help="timed passes of each contender (default: %(default)s)")
    parser.add_argument("--reference", type=Path, metavar="DIR",
                        help="a checkout of the authors' code, timed as well")
    parser.add_argument("--runtimes", nargs="+", choices=tuple(RUNTIMES), default=(), metavar="NAME",
                        help="other runtimes on the exported network, in fp32 on the CPU: "
                             f"{', '.join(RUNTIMES)}")
    parser.add_argument("--frames", type=at_least(2), metavar="N",
                        help="matte a video of N frames of 854x480 instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    args = parser.parse_args(arguments)
    from .report import report

    try:
        return report(args)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
