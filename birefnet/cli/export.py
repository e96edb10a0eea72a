"""`python -m birefnet export`: writes a checkpoint as an ONNX file, which is verified before it is kept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import AdapterOption, CommandError, add_adapter_option, file_name, size

if TYPE_CHECKING:
    from .. import BiRefNet


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command `export`."""
    parser = subparsers.add_parser(
        "export", help="write a checkpoint as an ONNX file",
        description="Writes a checkpoint as an ONNX file for onnxruntime, TensorRT, OpenVINO and others: "
                    "images [batch, 3, height, width] in, alpha [batch, 1, height, width] out. The file is "
                    "run on photographs and kept only if its alpha agrees with ours; FILE.json beside it "
                    "says how to use it.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a name of the catalog or a file")
    parser.add_argument("-o", "--output", type=file_name(".onnx"), required=True, metavar="FILE.onnx",
                        help="what is written")
    add_adapter_option(parser)
    parser.add_argument("--size", type=size, metavar="N|WxH",
                        help="fix the file to one image of this size, in multiples of 32 (default: any "
                             "batch, height and width; with --any-size: the checkpoint's own size)")
    parser.add_argument("--portable", action="store_true",
                        help="opset 17 and standard operators only, for WebGPU, CoreML, OpenVINO and older "
                             "runtimes (default: opset 19 with DeformConv, for onnxruntime 1.25 and "
                             "TensorRT 10.1 or newer)")
    parser.add_argument("--raw", action="store_true",
                        help="the network alone: normalised image in, logits out, named input_image and "
                             "output_image, as rembg takes it (default: RGB in 0 to 1 in, alpha out)")
    parser.add_argument("--any-size", action="store_true",
                        help="images of any size: resizing to the network's size and back is inside the file")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "int8"), default="fp32",
                        help="fp16: half the size, for GPUs; int8: a third of it, weights only (default: "
                             "%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file and its description. Exit status 0; raises CommandError if the file is not kept."""
    import weights

    from .. import load
    from ..export.graph import Contract, sides
    from ..export.write import export_onnx
    from ..files.errors import UserError
    from .messages import say
    from .models import find_checkpoint, read_config

    path = find_checkpoint(args.checkpoint)
    config = read_config(path)
    size = sides(args.size, config) if isinstance(args.size, int) else args.size
    contract = Contract(size, args.raw, args.any_size, args.portable)
    source = describe_source(path, args.adapters)
    if weights.non_commercial(source["licence"]):
        say(f"{path.name} is for non-commercial use only ({source['licence']}), and so is the file made of "
            "it")

    def network(form: str) -> BiRefNet:
        return load(path, adapters=args.adapters, defaults=weights.settings(path), form=form)

    try:
        made = export_onnx(network, args.output, contract, args.dtype, source, say)
    except UserError as error:  # CheckpointError is one
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{args.output}: cannot be written ({error.strerror or error})") from None
    print(made.describe())
    return 0


def describe_source(path: Path, adapters: Sequence[AdapterOption]) -> dict[str, object]:
    """Name the checkpoint and adapters of a file, with SHA-256, and the licence, or "unknown"."""
    import weights

    from ..checkpoint.tensorfile import open_file
    from .models import identify

    row = weights.match(path)
    licence = open_file(path).metadata.get("birefnet.license") or (row.license if row else "unknown")
    return {**identify(path, adapters), "licence": licence}
