"""Fine-tune (BiRefNet): trains a loaded network on pictures with masks, by birefnet.training.finetune."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import comfy.model_management as mm
import comfy.utils
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from .. import birefnet, weights
from ..birefnet import masks
from ..birefnet.checkpoint.load import undetermined_settings
from ..birefnet.training.curve import draw_curve
from ..birefnet.training.finetune import finetune
from .host import convert, folders, memory, messages, preview, progress, recipe, schema, values
from .host.recipe import Recipe

WHAT = ("head", "lora", "all")
CURVE_INTERVAL = 2.0  # seconds between drawings of the loss on the node
SAVED_DTYPE = torch.float16  # of a tuned network's weights, as in the published checkpoints


class BiRefFinetune(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefFinetune",
            display_name="Fine-tune (BiRefNet)",
            category=schema.CATEGORY,
            description="Teaches a network your kind of picture: from some tens of pictures with masks it "
                        "learns what counts as the subject in them. What it learned can be saved as a small "
                        "adapter.",
            search_aliases=["train", "training", "train lora", "learn"],
            is_output_node=True,
            is_input_list=True,  # a list of pictures of different sizes is one training set
            inputs=[
                schema.model_input("The network to begin with, from Load BiRefNet. It is not changed; the "
                                   "tuned copy is the output."),
                schema.image_input("The pictures to learn from, as a batch or a list, of any size. 20 to 50 "
                                   "that differ as much as those to come are a good start."),
                schema.mask_input("The mask of each picture, in the same order: 1 = subject."),
                io.Combo.Input(
                    "what", options=list(WHAT), default="head",
                    tooltip="What learns. head: the decoder, which draws the mask; learns fastest. lora: "
                            "small added weights in the backbone, the part that recognises objects. Both are "
                            "saved as small adapters. all: every weight; needs the most memory, and is saved "
                            "as a checkpoint of full size."),
                io.Int.Input(
                    "steps", default=300, min=1, max=100000,
                    tooltip="Number of training steps; each uses one batch. More is slower, and may make the "
                            "network forget what it knew before."),
                io.Float.Input(
                    "rate", default=0.0, min=0.0, max=0.1, step=0.00001, round=0.0000001,
                    tooltip="How much a step changes at most (AdamW's learning rate). 0: automatic. "
                            "Halve it if the loss rises."),
                io.Int.Input(
                    "rank", default=8, min=1, max=256,
                    tooltip="lora only: how many weights are added, and so how large the file is. 4 to 32 "
                            "are usual."),
                io.Int.Input(
                    "batch", default=4, min=1, max=256,
                    tooltip="Pictures per step. If they do not fit in memory, the batch is split, with the "
                            "same result."),
                schema.size_input("the pictures", "Memory and time grow with its square. ",
                                  host_models=False),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**32 - 1, control_after_generate=False,
                    tooltip="Decides the order, the crops and the colours in which the pictures are seen. "
                            "The same seed gives the same network."),
                io.String.Input(
                    "save_as", default="",
                    tooltip="Name of the file to save what was learned in, for instance cracks or "
                            "walls/cracks; empty: it is not saved. An adapter goes into "
                            "models/BiRefNet/adapters, a checkpoint into models/BiRefNet. A name that is "
                            "taken gets a number."),
            ],
            outputs=[
                schema.BackgroundRemoval.Output(
                    "tuned", display_name="model",
                    tooltip="The tuned network, ready for Segment (BiRefNet)."),
                io.Float.Output("loss", display_name="loss",
                                tooltip="The mean loss of the last tenth of the steps. It falls while the "
                                        "network learns; compare it only between runs on the same "
                                        "pictures."),
                io.Image.Output("curve", display_name="curve",
                                tooltip="The loss over the steps, as a picture."),
            ],
        )

    @classmethod
    def execute(cls, image: list, mask: list, **others: list) -> io.NodeOutput:
        return cls.tune(image=image, mask=mask, **{name: given[0] for name, given in others.items()})

    @classmethod
    @values.checked
    def tune(cls, model, image: list, mask: list, what: str, steps: int, rate: float, rank: int, batch: int,
             size: int, seed: int, save_as: str) -> io.NodeOutput:
        base = recipe.of(model, "fine-tuning")
        pictures, truths = pair_up(image, mask)
        file = choose_file(save_as, what)
        began = time.monotonic()
        with torch.inference_mode(False), torch.enable_grad():
            tuned = finetune(trainable_network(base), pictures, truths, what=what, steps=steps,
                             rate=rate or None, rank=rank, batch=batch, size=size or None, seed=seed,
                             report=reporter(steps), relieve=mm.soft_empty_cache)
        made = save_tuned(tuned, base, file)
        picture = draw_curve(tuned.losses)
        seconds = time.monotonic() - began
        text = f"loss {tuned.losses[0]:.1f} to {tuned.loss:.1f} in {steps} steps, {seconds:.0f} s"
        text += f"; saved as {file.name}" if file else ""
        return io.NodeOutput(made.model(), tuned.loss, picture,
                             ui=ui.PreviewImage(picture, cls=cls).as_dict() | messages.text_ui(text))


def pair_up(images: list, truths: list) -> tuple[list[Tensor], list[Tensor]]:
    """Return pictures [H,W,C] and masks [H,W] from lists of batches, masks resized to their pictures.

    Raises:
        ValueError: the numbers of pictures and masks differ.
    """
    clean_image, clean_mask = convert.Cleaner("the image"), convert.Cleaner("the mask")
    pictures = [clean_image(frame) for batch in images for frame in convert.frames(batch)]
    known = [mask[None] for batch in truths for mask in convert.masks(batch)]
    if len(pictures) != len(known):
        raise ValueError(f"Connect a mask for each picture: got {len(pictures)} pictures and {len(known)} "
                         "masks.")
    return pictures, [masks.resize(clean_mask(mask), tuple(picture.shape[:2]))[0]
                      for picture, mask in zip(pictures, known)]


def choose_file(save_as: str, what: str) -> Path | None:
    """Return the file to write, so that a bad name fails before the training; None for no name.

    Raises:
        ValueError: the name leads out of the folder, is not allowed on some system, or is a published one.
    """
    if not save_as.strip():
        return None
    folder = folders.checkpoint_folders()[0]
    file = (weights.new_checkpoint(save_as, folder) if what == "all" else
            weights.new_file(save_as, folder / weights.ADAPTERS))
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def trainable_network(base: Recipe) -> birefnet.BiRefNet:
    """Unload all models, and load the network in its trainable form on its device."""
    memory.retry_while_unloading(mm.unload_all_models)
    mm.soft_empty_cache()
    network = base.network(form="plain", dtype=torch.float32, cuda_graphs=False)
    return birefnet.place(network, base.device, torch.float32)


def reporter(steps: int) -> Callable[[int, float], None]:
    """Return a function report(step, loss) that moves the host's progress bar, draws the loss so far on the
    node, and raises the host's exception when the user stops the queue."""
    bar, losses, drawn_at = comfy.utils.ProgressBar(steps), [], time.monotonic()

    def report(step: int, loss: float) -> None:
        nonlocal drawn_at
        progress.check_interrupt()
        losses.append(loss)
        picture = ""
        if time.monotonic() - drawn_at >= CURVE_INTERVAL and messages.listener() is not None:
            drawn_at = time.monotonic()
            curve = draw_curve(losses)
            picture = preview.inline(curve, max(curve.shape))
        messages.say(f"Step {step} of {steps}: loss {loss:.1f}", picture)
        bar.update_absolute(step, steps)

    return report


def save_tuned(tuned, base: Recipe, file: Path | None) -> Recipe:
    """Save the tuned weights if there is a file, and return the tuned model's recipe.

    It is the base's recipe with one more adapter, or one with the tuned network's own tensors.
    """
    if tuned.adapter is not None:
        if file:
            tuned.adapter.save(file)
        return base.with_adapter(file or tuned.adapter, 1.0)
    ancestry = base.ancestry(tuned.model)
    if file:
        birefnet.save(tuned.model, file, ancestry, dtype=SAVED_DTYPE)
    options = undetermined_settings(tuned.model.config) | {"cuda_graphs": base.options["cuda_graphs"]}
    tensors = {name: tensor.to("cpu", SAVED_DTYPE) for name, tensor in tuned.model.state_dict().items()
               if tensor.is_floating_point()}
    return Recipe(file or tensors, options, base.device, base.dtype, origin=ancestry)
