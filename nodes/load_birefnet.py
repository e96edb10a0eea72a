"""Load BiRefNet: from the name of a checkpoint to a model on a BACKGROUND_REMOVAL socket."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from comfy_api.latest import io

from .. import birefnet, weights
from ..birefnet.checkpoint.tensorfile import open_file
from ..birefnet.device import dtypes as precision
from ..birefnet.device.dtypes import DTYPES
from .host import folders, memory, messages, progress, schema, values
from .host.model import BiRefModel
from .host.recipe import Recipe, identity

log = logging.getLogger(__name__)

DEFAULT = "birefnet-nano"
NONE = "none"  # the choice of no adapter


class BiRefLoad(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefLoad",
            display_name="Load BiRefNet",
            category=schema.CATEGORY,
            description="Loads a BiRefNet checkpoint that tells a picture's subject from its background. "
                        "birefnet-nano is included; nothing is downloaded unless fetch is set to \"if missing\".",
            search_aliases=[*schema.ALIASES, "RMBG", "load matting model"],
            inputs=[
                io.Combo.Input(
                    "checkpoint", options=options(), default=DEFAULT,
                    tooltip="Which network to use. First the included birefnet-nano, then the files on this machine, "
                            "then the names of published checkpoints, which must be on this machine unless fetch is "
                            "set to \"if missing\". What it is made for (size, normalisation) is recognised."),
                io.Combo.Input(
                    "dtype", options=["auto", *DTYPES], default="auto",
                    tooltip="Number format of the computation. auto: half precision where it is fast (fp16, else bf16, "
                            "on a GPU; bf16 on a CPU with instructions for it), else fp32. Half needs half the memory "
                            "and hardly changes the mask. On a CPU, fp16 is computed in fp32."),
                io.Combo.Input(
                    "device", options=["auto", "cpu"], default="auto",
                    tooltip="Where the network runs. auto: ComfyUI's device (the GPU, if there is one). cpu: the "
                            "processor, slower, leaves the GPU's memory alone."),
                io.Boolean.Input(
                    "fetch", default=False, label_on="if missing", label_off="never",
                    tooltip="Whether a published checkpoint that is not on this machine may be downloaded from the "
                            "Hugging Face hub (90 to 900 MB) into models/BiRefNet. never: the internet is not "
                            "contacted."),
                schema.make(
                    io.Combo.Input, "patch_order", options=["auto", "colour-slowest", "colour-fastest"], default="auto",
                    optional=True, advanced=True,
                    tooltip="How the checkpoint wants image tiles stacked on channels. auto: as the catalog or the "
                            "file says, else colour-slowest. colour-fastest is for files trained by code older than "
                            "November 2024, RMBG-2.0 for one. The wrong one spoils the mask."),
                schema.make(
                    io.Combo.Input, "normalize", options=["auto", "imagenet", "none"], default="auto",
                    optional=True, advanced=True,
                    tooltip="What is done to colours before the network sees them. auto: as the catalog or the file "
                            "says, else imagenet. none is for repackaged files that have the normalisation folded "
                            "in."),
                schema.make(
                    io.Boolean.Input, "cuda_graphs", default=False, label_on="on", label_off="off", optional=True,
                    advanced=True,
                    tooltip="NVIDIA GPUs only. On: batches and videos of one picture size are faster, because the "
                            "network's work is recorded once and replayed, for some more GPU memory while a batch "
                            "runs. Falls back by itself where it does not work. The mask is the same."),
                io.Combo.Input(
                    "adapter", options=adapter_options(), default=NONE, optional=True,
                    tooltip="What fine-tuning learned on top of this checkpoint, as Fine-tune (BiRefNet) saves it: a "
                            "small file from models/BiRefNet/adapters. It costs no time when the network runs. For "
                            "more than one, put Load Adapter (BiRefNet) behind this node."),
                io.Float.Input(
                    "adapter_strength", default=1.0, min=-2.0, max=2.0, step=0.05, optional=True,
                    tooltip="How much of the adapter is added: 1 as it was learned, 0 nothing, less than 0 its "
                            "opposite."),
            ],
            outputs=[
                schema.BackgroundRemoval.Output(
                    "model", display_name="model",
                    tooltip="The loaded network, for Segment (BiRefNet) and for ComfyUI's own Remove Background."),
            ],
        )

    @classmethod
    def validate_inputs(cls, checkpoint, adapter=NONE) -> bool:
        return True  # a name that is not in the list is explained by `execute`, which knows what to do about it

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str = DEFAULT, adapter: str = NONE, **_) -> tuple:
        """Changes when a file is replaced, so that the host loads it again."""
        return (*checkpoint_state(checkpoint), *adapter_state(adapter))

    @classmethod
    @values.checked
    def execute(cls, checkpoint: str, dtype: str, device: str, fetch: bool, patch_order: str = "auto",
                normalize: str = "auto", cuda_graphs: bool = False, adapter: str = NONE, adapter_strength: float = 1.0
                ) -> io.NodeOutput:
        path = find_or_fetch(str(checkpoint), fetch)
        where = memory.device(device)
        options = {"patch_order": patch_order, "normalize": normalize, "cuda_graphs": cuda_graphs,
                   "defaults": weights.settings(path, folders.registered_folders())}
        recipe = Recipe(path, options, where, memory.dtype(dtype, where))
        if adapter != NONE:
            file = weights.find_adapter(str(adapter), folders.checkpoint_folders())
            recipe = recipe.with_adapter(file, adapter_strength)
        model = recipe.model()
        report(model, path)
        return io.NodeOutput(model)


def options() -> list[str]:
    """What the widget offers: the included checkpoint, local files, catalog names. Saved workflows hold these
    strings: whether a catalog name is on this machine must not show in them."""
    names = [DEFAULT, *weights.local(folders.checkpoint_folders()), *(entry.name for entry in weights.CATALOG)]
    return list(dict.fromkeys(names))


def find_or_fetch(checkpoint: str, fetch: bool) -> Path:
    """The checkpoint's file, local first; a published one that is cut off counts as missing. weights.NotFound,
    weights.FetchError or birefnet.CheckpointError say what to do if there is none."""
    folder, row = folders.checkpoint_folders()[0], weights.entry(checkpoint)
    try:
        path = found(checkpoint)
    except weights.NotFound:
        if not fetch or row is None:
            raise
    else:
        row = row or weights.match(path, folders.registered_folders())
        broken = row and row.repo and damage(path)
        if not broken:
            return path
        if not fetch:
            raise birefnet.CheckpointError(f"{path}: {broken}. To download {row.name} again, set fetch to \"if missing\"")
    log.info("BiRef: downloading %s into %s", row.name, folder)
    messages.say(f"downloading {row.name}")
    return weights.fetch(row.name, folder, progress=progress.download_progress())


def found(checkpoint: str) -> Path:
    """The file of that name on this machine, or weights.NotFound."""
    return weights.find(checkpoint, folders.checkpoint_folders(), registered=folders.registered_folders())


def damage(path: Path) -> str:
    """What is wrong with a checkpoint's file that is cut off or holds something else; "" for one that can be opened.

    What a user converted is whole, however much smaller it is than what was published.
    """
    if not weights.is_whole(path):  # which does not know all formats that can be opened
        try:
            open_file(path)
        except birefnet.CheckpointError as error:
            return str(error)
        except OSError:  # it may not be read, which is no damage, and is said when it is loaded
            pass
    return ""


def checkpoint_state(checkpoint: str) -> tuple:
    """Changes when the checkpoint's file is replaced."""
    return state(lambda: found(str(checkpoint)))


def adapter_options() -> list[str]:
    """What a widget for adapters offers."""
    return [NONE, *weights.local_adapters(folders.checkpoint_folders())]


def adapter_state(adapter: str) -> tuple:
    """Changes when the adapter's file is replaced."""
    if adapter == NONE:
        return ()
    return state(lambda: weights.find_adapter(str(adapter), folders.checkpoint_folders()))


def state(find: Callable[[], Path]) -> tuple:
    """The identity of the file that is found, if there is one."""
    try:
        return identity(find())
    except OSError:
        return ("missing",)


def report(model: BiRefModel, path: Path) -> None:
    """One line in the log, a shorter one on the node: what was recognised and where it runs."""
    dtype = precision.name(model.dtype)
    license = model.recipe.ancestry(model.network).get("birefnet.license", "")
    licence = f"; licence {license}: not for commercial use" if weights.non_commercial(license) else ""
    log.info("BiRef: %s is %s; runs on %s in %s%s", path, model.network.config.describe(), model.device, dtype, licence)
    size = model.network.config.size
    own = f"{size[1]}×{size[0]}" if size else "the photo's size"
    messages.say(f"{model.network.config.backbone} · {own} · {model.device} · {dtype}{licence}")
