"""The sockets that Composite and Frame Subject share: what lies behind the subject, and its shadow."""

from __future__ import annotations

from comfy_api.latest import io

from ...birefnet import composite
from . import schema


def background_colour_input():
    """The colour behind the subject."""
    return schema.colour_input(
        "The background's colour as in CSS: a word (white, navy), #20a0ff, rgb(32 160 255), "
        "hsl(206 100% 56%). Also fills what the background image leaves empty or transparent.")


def fit_input():
    """How a background image meets the canvas."""
    return io.Combo.Input(
        "fit", options=list(composite.FITS), default="fill",
        tooltip="How a background image meets a canvas of another size. fill: covers it, cropped "
                "evenly. fit: all of it is seen, colour beside it. stretch: distorted. tile: "
                "repeated at its own size.")


def shadow_inputs():
    """How the shadow looks: strength, softness, where it falls."""
    return [
        schema.number_input("shadow_strength", 0.5, 0.0, 1.0, 0.01,
                            "How dark the shadow gets: 0 not at all, 1 black."),
        schema.number_input("shadow_softness", 5.0, 0.0, 50.0, 0.1,
                            "How soft and wide the shadow is, as a percentage of the subject's "
                            "longer side.", advanced=True),
        schema.number_input("shadow_x", 0.0, -100.0, 100.0, 0.1,
                            "Moves the shadow right, as a percentage of the subject's longer side.",
                            advanced=True),
        schema.number_input("shadow_y", 1.0, -100.0, 100.0, 0.1,
                            "Moves the shadow down, as a percentage of the subject's longer side.",
                            advanced=True),
    ]


def subject_mask_input():
    """The subject's masks."""
    return schema.mask_input(
        "The subject's masks, 0 to 1: 1 = subject. One for all pictures, or one each. Without "
        "it, the transparency of an RGBA picture counts; with both, the smaller value of each "
        "pixel.",
        optional=True)


def background_image_input():
    """Pictures for the background."""
    return io.Image.Input(
        "background_image", optional=True,
        tooltip="Pictures for the backgrounds image and blurred image; one for all, or one "
                "each.")
