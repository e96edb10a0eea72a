"""Load Pictures and Masks (BiRefNet): reads a folder of training pictures and the masks of their names."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from .. import weights
from ..birefnet import masks
from ..birefnet.data.pairs import DataError, find_pairs, scan_data_set
from ..birefnet.imaging import pictures
from .host import messages, progress, recipe, samples, schema, values


class BiRefPairs(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefPairs",
            display_name="Load Pictures and Masks (BiRefNet)",
            category=schema.CATEGORY,
            description="Loads pictures and their masks, matched by name, from a folder in ComfyUI's input "
                        "folder: the pictures in its folder im, the masks in its folder gt. For Fine-tune "
                        "(BiRefNet).",
            search_aliases=["dataset", "training data", "load image mask pairs"],
            inputs=[
                io.Combo.Input(
                    "folder", options=folder_options(),
                    tooltip="A folder in ComfyUI's input folder that holds the folders im (pictures) and gt "
                            "(masks, white = subject). A mask has its picture's name, whatever its suffix: "
                            "im/7.jpg and gt/7.png."),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", is_output_list=True,
                                tooltip="The pictures, in the order of their names, each at its own size."),
                io.Mask.Output("masks", display_name="masks", is_output_list=True,
                               tooltip="The masks in the same order, 0 to 1: 1 = subject."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder) -> bool:
        return True  # `execute` explains what is wrong with a folder that is not in the list

    @classmethod
    def fingerprint_inputs(cls, folder: str) -> tuple:
        """Return a value that changes with the folder's files, so that the host loads them again."""
        try:
            found = scan_data_set(input_folder(folder))
            paired = [path for pair in found.pairs for path in (pair.picture, pair.truth)]
            return tuple(map(recipe.identity, [*paired, *found.unpaired_pictures]))
        except (OSError, ValueError):
            return ("missing",)  # `execute` explains it

    @classmethod
    @values.checked
    def execute(cls, folder: str) -> io.NodeOutput:
        pairs = find_pairs(input_folder(folder))
        images, truths = [], []
        for pair in progress.each(pairs):
            picture, truth = pictures.read(pair.picture), pictures.read(pair.truth)
            size = tuple(picture.shape[1:3])
            if wrong := fault(size, truth):
                raise DataError(f"{pair.truth}: {wrong}")
            images.append(picture[..., :3])
            truths.append(masks.resize(truth[..., :3].mean(-1), size))
        done = f"Done: {len(pairs)} pictures with masks"
        return io.NodeOutput(images, truths, ui=messages.status_ui("", done))


def folder_options() -> list[str]:
    """Return the folders in ComfyUI's input folder; those with im and gt come first."""
    parent = Path(folder_paths.get_input_directory())

    def lacks_pairs(name: str) -> bool:
        return not (parent.joinpath(name, "im").is_dir() and parent.joinpath(name, "gt").is_dir())

    return sorted(folder_paths.get_input_subfolders(), key=lacks_pairs) or [samples.PAIRS]


def fault(size: tuple[int, int], truth: Tensor) -> str | None:
    """Explain, as `train` does, why a mask cannot be used with its picture; None if it can.

    Args:
        size: the picture's (H, W).
        truth: the mask as read, [1,H,W,3 or 4].
    """
    # Imported here, because no other node needs it.
    from ..birefnet.data.check import explain_turned, explain_unusable

    return explain_turned(size, tuple(truth.shape[1:3])) or explain_unusable(truth[0].numpy())


def input_folder(name: object) -> Path:
    """Return the folder of that name in ComfyUI's input folder. Raises ValueError if it is not in there."""
    parent, text = Path(folder_paths.get_input_directory()), str(name).replace("\\", "/")
    wrong = weights.fault(text, "ComfyUI's input folder")
    if wrong or "" in text.split("/") or not parent.joinpath(text).is_dir():
        raise ValueError(f"Choose a folder in ComfyUI's input folder {parent}, with the pictures in its "
                         f"folder im and their masks in gt: {weights.quoted(name)} "
                         f"{wrong or 'is no folder there'}.")
    return parent.joinpath(text)
