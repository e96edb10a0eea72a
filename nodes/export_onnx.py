"""Export (BiRefNet): a loaded network as a verified ONNX file in the output folder, by birefnet.export."""

from __future__ import annotations

import itertools
from pathlib import Path

import comfy.utils
import torch
from comfy_api.latest import io

from .. import birefnet, weights
from ..birefnet.export.graph import Contract, sides
from ..birefnet.files.hashing import sha256
from .host import folders, messages, progress, recipe, schema, values
from .host.recipe import Recipe

# The widget's choices of input and output → options of a Contract.
CONTRACTS = {
    "image to alpha": {},
    "image of any size to alpha": {"any_size": True},
    "network alone (rembg)": {"raw": True},
}
STEPS = 8  # length of the progress bar: lines that an export reports, at most


class BiRefExport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefExport",
            display_name="Export (BiRefNet)",
            category=schema.CATEGORY,
            description="Writes a network, with its adapters and fine-tuning, as an ONNX file for "
                        "onnxruntime, TensorRT, OpenVINO and others. The file is run on photographs and "
                        "kept only if its mattes agree with those of this node pack.",
            search_aliases=["onnx", "save model", "tensorrt", "openvino"],
            is_output_node=True,
            inputs=[
                schema.model_input("The network, from Load BiRefNet, Load Adapter (BiRefNet) or Fine-tune "
                                   "(BiRefNet)."),
                io.Combo.Input(
                    "contract", display_name="input and output", options=list(CONTRACTS),
                    default="image to alpha",
                    tooltip="What goes in and comes out. image to alpha: RGB from 0 to 1, multiples of 32 "
                            "pixels; resizing stays outside. image of any size to alpha: both resizes are "
                            "inside. network alone (rembg): normalised image in, logits out, as rembg takes "
                            "it."),
                io.Boolean.Input(
                    "portable", default=False, label_on="on", label_off="off",
                    tooltip="On: standard operators of opset 17 only, for WebGPU, CoreML, OpenVINO and "
                            "older runtimes. Off: opset 19 with DeformConv, for onnxruntime 1.25 and "
                            "TensorRT 10.1 or newer."),
                io.Combo.Input(
                    "dtype", options=["fp32", "fp16", "int8"], default="fp32",
                    tooltip="Number format. fp16: half the size, for GPUs; slower on most CPUs. int8: "
                            "about a third of the size, with weights in int8."),
                io.Int.Input(
                    "size", default=0, min=0, max=8192, step=32,
                    tooltip="Longer side, in pixels, that the file is fixed to, with a batch of one. 0: any "
                            "batch, height and width. With image of any size to alpha it is only the "
                            "network's size, to which the file resizes; 0: the checkpoint's own."),
                io.String.Input(
                    "filename_prefix", default="onnx/BiRefNet",
                    tooltip="Name of the file in ComfyUI's output folder; a number and .onnx are added. A "
                            ".json file of the same name says how to use it."),
            ],
            outputs=[
                io.String.Output("file", display_name="file", tooltip="The path of the ONNX file."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, model, contract: str, portable: bool, dtype: str, size: int, filename_prefix: str
                ) -> io.NodeOutput:
        from ..birefnet.export.write import export_onnx

        made_of = recipe.of(model, "exporting")
        wanted = Contract(sides(size, model.network.config) if size else None, portable=portable,
                          **CONTRACTS[contract])
        source = describe_source(made_of, model.network)
        bar, lines = comfy.utils.ProgressBar(STEPS), itertools.count(1)

        def report(line: str) -> None:
            progress.check_interrupt()
            bar.update_absolute(min(next(lines), STEPS), STEPS)
            messages.say(line)

        def network(form: str) -> birefnet.BiRefNet:
            return made_of.network(form=form, dtype=torch.float32, cuda_graphs=False)

        file, _ = folders.new_file(filename_prefix, "onnx/BiRefNet", ".onnx")
        with torch.inference_mode(False):
            made = export_onnx(network, file, wanted, dtype, source, report)
        bar.update_absolute(STEPS, STEPS)
        text = (f"{made.file.name} saved: {made.bytes / 1e6:.1f} MB, alpha within "
                f"{max(check.largest for check in made.checks):.1e} of ours")
        restricted = weights.non_commercial(source["licence"])
        if restricted:
            text += f"; for non-commercial use only ({source['licence']})"
        return io.NodeOutput(str(made.file), ui=messages.text_ui(text, warning=restricted))


def describe_source(made_of: Recipe, network: birefnet.BiRefNet) -> dict[str, object]:
    """Return the network's origin, licence, hash and adapters, for the .json file beside the ONNX file."""
    ancestry = made_of.ancestry(network)
    known = {"model": ancestry.get("birefnet.base", "unknown"),
             "licence": ancestry.get("birefnet.license", "unknown")}
    if isinstance(made_of.source, Path):
        known["sha256"] = sha256(made_of.source)
    if made_of.adapters:
        known["adapters"] = [f"{strength:g} x {part.name}" for part, strength in made_of.adapters]
    return known
