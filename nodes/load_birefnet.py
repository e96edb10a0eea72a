"""Load BiRefNet: loads a checkpoint by its name as a model for BACKGROUND_REMOVAL sockets."""

from __future__ import annotations

import logging
from pathlib import Path

from comfy_api.latest import io

from .. import weights
from ..birefnet.device import dtypes
from .host import checkpoints, folders, memory, messages, schema, values
from .host.checkpoints import NONE
from .host.model import BiRefModel
from .host.recipe import Recipe

log = logging.getLogger(__name__)


class BiRefLoad(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefLoad",
            display_name="Load BiRefNet",
            category=schema.CATEGORY,
            description="Loads a BiRefNet checkpoint that tells a picture's subject from its background. "
                        "birefnet-nano is included; nothing is downloaded unless download is set to \"when "
                        "missing\".",
            search_aliases=["load background removal model", "load RMBG model", "checkpoint"],
            has_intermediate_output=False,  # in Remove Background its line would follow those of later nodes
            inputs=[
                schema.checkpoint_input(
                    checkpoints.options(), weights.DEFAULT,
                    "Which network to use. First the included birefnet-nano, then the files on this machine, "
                    "then the names of published checkpoints, which must be on this machine unless download "
                    "is set to \"when missing\". What it is made for (size, normalisation) is detected from "
                    "the file."),
                io.Combo.Input(
                    "dtype", options=["auto", *dtypes.DTYPES], default="auto",
                    tooltip="Number format of the computation. auto: half precision where it is fast (fp16, "
                            "else bf16, on a GPU; bf16 on a CPU with instructions for it), else fp32. Half "
                            "needs half the memory and hardly changes the mask. On a CPU, fp16 is computed "
                            "in fp32."),
                io.Combo.Input(
                    "device", options=["auto", "cpu"], default="auto",
                    tooltip="Where the network runs. auto: ComfyUI's device (the GPU, if there is one). cpu: "
                            "the processor, slower, leaves the GPU's memory alone."),
                schema.fetch_input("Whether a published checkpoint that is not on this machine may be "
                                   "downloaded from the Hugging Face hub (90 to 900 MB) into "
                                   "models/BiRefNet. off: the internet is not contacted."),
                schema.make(
                    io.Combo.Input, "patch_order", options=["auto", "colour-slowest", "colour-fastest"],
                    default="auto", optional=True, advanced=True,
                    tooltip="The order in which the checkpoint expects image tiles stacked on channels. "
                            "auto: as the catalog or the file says, else colour-slowest. colour-fastest is "
                            "for files trained by code older than November 2024, RMBG-2.0 for one. The "
                            "wrong one spoils the mask."),
                schema.make(
                    io.Combo.Input, "normalize", options=["auto", "imagenet", "none"], default="auto",
                    optional=True, advanced=True,
                    tooltip="What is done to colours before the network sees them. auto: as the catalog or "
                            "the file says, else imagenet. none is for repackaged files that have the "
                            "normalisation folded in."),
                schema.make(
                    io.Boolean.Input, "cuda_graphs", default=False, label_on="on", label_off="off",
                    optional=True, advanced=True,
                    tooltip="NVIDIA GPUs only. On: batches and videos of one picture size are faster, "
                            "because the network's work is recorded once and replayed, for some more GPU "
                            "memory while a batch runs. Falls back by itself where it does not work. The "
                            "mask is the same."),
                io.Combo.Input(
                    "adapter", options=checkpoints.adapter_options(), default=NONE, optional=True,
                    tooltip="What fine-tuning learned on top of this checkpoint, as Fine-tune (BiRefNet) "
                            "saves it: a small file from models/BiRefNet/adapters. It costs no time when the "
                            "network runs. For more than one, put Load Adapter (BiRefNet) behind this "
                            "node."),
                io.Float.Input(
                    "adapter_strength", default=1.0, min=-2.0, max=2.0, step=0.05, optional=True,
                    tooltip="How much of the adapter is added: 1 as it was learned, 0 nothing, less than 0 "
                            "its opposite."),
            ],
            outputs=[
                schema.BackgroundRemoval.Output(
                    "model", display_name="model",
                    tooltip="The loaded network, for Segment (BiRefNet) and for ComfyUI's own Remove "
                            "Background."),
            ],
        )

    @classmethod
    def validate_inputs(cls, checkpoint=None, fetch=None, adapter=None) -> bool | str:
        """Also accept names that are not in the widgets' lists but lead to a file, such as aliases."""
        wrong = checkpoints.fault_before_run(checkpoint, fetch) or checkpoints.fault_of_adapter(adapter)
        return wrong or True

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str = weights.DEFAULT, adapter: str = NONE, **_) -> tuple:
        """Return a value that changes when a file is replaced, so that the host loads it again."""
        return (*checkpoints.checkpoint_state(checkpoint), *checkpoints.adapter_state(adapter))

    @classmethod
    @values.checked
    def execute(cls, checkpoint: str, dtype: str, device: str, fetch: bool, patch_order: str = "auto",
                normalize: str = "auto", cuda_graphs: bool = False, adapter: str = NONE,
                adapter_strength: float = 1.0) -> io.NodeOutput:
        path = checkpoints.find_or_fetch(str(checkpoint), fetch)
        where = memory.device(device)
        options = {"patch_order": patch_order, "normalize": normalize, "cuda_graphs": cuda_graphs,
                   "defaults": weights.settings(path, folders.registered_folders())}
        recipe = Recipe(path, options, where, memory.dtype(dtype, where))
        if adapter != NONE:
            file = weights.find_adapter(str(adapter), folders.checkpoint_folders())
            recipe = recipe.with_adapter(file, adapter_strength)
        model = recipe.model()
        return io.NodeOutput(model, ui=messages.status_ui("", report(model, path)))


def report(model: BiRefModel, path: Path) -> str:
    """Log what was detected and where the model runs; return a shorter line for the node."""
    dtype = dtypes.name(model.dtype)
    licence = model.recipe.ancestry(model.network).get("birefnet.license", "")
    warning = f"; licence {licence}: not for commercial use" if weights.non_commercial(licence) else ""
    log.info("BiRef: %s is %s; runs on %s in %s%s", path, model.network.config.describe(), model.device,
             dtype, warning)
    size = model.network.config.size
    own = f"{size[1]}×{size[0]}" if size else "the photo's size"
    where = str(model.device).upper() if model.device.type == "cpu" else str(model.device)
    return f"{path.stem} ready · {own} · {where} · {dtype}{warning}"
