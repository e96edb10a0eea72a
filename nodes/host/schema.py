"""Sockets and widgets that several nodes share, for every version of the host."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from comfy_api.latest import io

CATEGORY = "image/BiRefNet"
# Core's socket types; older hosts get custom ones of the same names.
BackgroundRemoval = getattr(io, "BackgroundRemoval", None) or io.Custom("BACKGROUND_REMOVAL")
BoundingBox = getattr(io, "BoundingBox", None) or io.Custom("BOUNDING_BOX")

MODEL = "A network from Load BiRefNet, or from ComfyUI's Load Background Removal Model."
PICTURES = ("The pictures, of any size, one or many; grey, RGB or RGBA. What is already transparent in an "
            "RGBA picture stays transparent.")
MASKS = ("The subject's masks, 0 to 1: 1 = subject. One for all pictures, or one each. A mask of another "
         "size is resized to the picture.")
WHITE, CHECKPOINT_SIZE = "#ffffff", "0: the size the checkpoint was made for, which is nearly always best."
HOST_SIZE = " ComfyUI's own models always run at theirs."


def make(kind: Callable, *args, **words):
    """Call kind(*args, **words) without keywords that older hosts lack, such as `advanced`."""
    if kind is io.Schema:  # a cached result shows the node's line and previews again
        words.setdefault("has_intermediate_output", True)
    known = inspect.signature(kind).parameters
    return kind(*args, **{name: value for name, value in words.items() if name in known})


# Inputs ---------------------------------------------------------------------------------------------------


def model_input(tooltip: str = MODEL, optional: bool = False) -> io.Input:
    return BackgroundRemoval.Input("model", tooltip=tooltip, optional=optional)


def image_input(tooltip: str = PICTURES, optional: bool = False) -> io.Input:
    return io.Image.Input("image", tooltip=tooltip, optional=optional)


def mask_input(tooltip: str = MASKS, optional: bool = False) -> io.Input:
    return io.Mask.Input("mask", tooltip=tooltip, optional=optional)


def size_input(seen: str, rest: str = "", host_models: bool = True) -> io.Input:
    """Longer side of the network's input, in pixels; 0: the checkpoint's own.

    Args:
        seen: "the picture".
        rest: further sentences.
        host_models: whether the node also runs the host's models, which ignore the size.
    """
    return io.Int.Input(
        "size", default=0, min=0, max=4096, step=32,
        tooltip=f"Longer side, in pixels, at which the network sees {seen}. {rest}{CHECKPOINT_SIZE}"
                f"{HOST_SIZE if host_models else ''}")


def frames_per_pass_input(frames: str, rest: str = "") -> io.Input:
    return io.Int.Input(
        "frames_per_pass", default=0, min=0, max=1024, step=1,
        tooltip=f"How many {frames} are on the GPU at a time. 0: as many as memory allows. The result does "
                f"not depend on it.{rest}")


def checkpoint_input(options: list[str], default: str, tooltip: str) -> io.Input:
    return io.Combo.Input("checkpoint", options=options, default=default, tooltip=tooltip)


def fetch_input(tooltip: str) -> io.Input:
    """Whether a published checkpoint may be downloaded; workflows store it as `fetch`."""
    return io.Boolean.Input("fetch", display_name="download", default=False, label_on="when missing",
                            label_off="off", tooltip=tooltip)


def colour_input(tooltip: str, default: str = WHITE, optional: bool = False) -> io.Input:
    """A colour as CSS text: a swatch where the host has one, which also accepts text from another node."""
    if hasattr(io, "Color"):
        swatch = make(io.Color.Input, "colour", default=default, tooltip=tooltip, socketless=False,
                      optional=optional)
        return io.MultiType.Input(swatch, types=[io.Color, io.String])
    return io.String.Input("colour", default=default, tooltip=tooltip, optional=optional)


def number_input(id: str, default: float, least: float, most: float, step: float, tooltip: str,
                 advanced: bool = False, optional: bool = False) -> io.Input:
    return make(io.Float.Input, id, default=default, min=least, max=most, step=step, tooltip=tooltip,
                advanced=advanced or None, optional=optional)


# Outputs. Hosts up to 0.3.75 need ids that differ from the inputs': no output "mask" beside an input "mask".


def mask_output(id: str, tooltip: str) -> io.Output:
    return io.Mask.Output(id, display_name="mask", tooltip=tooltip)


def cutout_output(tooltip: str) -> io.Output:
    return io.Image.Output("cutout", display_name="cutout", tooltip=tooltip)


def coverage_output() -> io.Output:
    return io.Float.Output(
        "coverage", display_name="coverage",
        tooltip="Share of all the pictures' area that the subject covers: the mean of the mask, 0 to 1.")
