"""Inputs that Composite and Frame Subject share, for background and shadow, and their layers by frame."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ...birefnet import composite
from . import convert, messages, schema

OPAQUE = "for a transparent background, set background to transparent"


def background_colour_input():
    """The colour behind the subject."""
    return schema.colour_input(
        "The background's colour as in CSS: a word (white, navy), #20a0ff, rgb(32 160 255), "
        "hsl(206 100% 56%). Also fills what a background picture leaves empty or transparent. Not used with "
        "the background transparent.")


def fit_input():
    """How a background image is fitted to the canvas."""
    return io.Combo.Input(
        "fit", options=list(composite.FITS), default="fill",
        tooltip="For the backgrounds image, blurred image and blurred original: how the picture meets a "
                "canvas of another size. fill: covers it, cropped evenly. fit: all of it is seen, colour "
                "beside it. stretch: distorted. tile: repeated at its own size.")


def blur_input(advanced: bool = False):
    """How far a background is blurred."""
    return schema.number_input(
        "blur", 2.0, 0.0, 50.0, 0.1,
        "How far the backgrounds blurred image and blurred original are blurred, as a percentage of the "
        "longer side of the canvas or, for blurred original, of the picture.", advanced=advanced)


def shadow_inputs():
    """The shadow's strength, softness and offset."""
    return [
        schema.number_input("shadow_strength", 0.5, 0.0, 1.0, 0.01,
                            "How dark the shadow gets: 0 not at all, 1 black."),
        schema.number_input("shadow_softness", 5.0, 0.0, 50.0, 0.1,
                            "How soft and wide the shadow is, as a percentage of the subject's "
                            "longer side.", advanced=True),
        schema.number_input("shadow_x", 0.0, -100.0, 100.0, 0.1,
                            "Moves the shadow right, as a percentage of the subject's longer side.",
                            advanced=True),
        schema.number_input("shadow_y", 100 * composite.BlendSettings.shadow_y, -100.0, 100.0, 0.1,
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


def no_subject(empty: list[int], total: int) -> str:
    """Return a message about the frames, by index, whose mask is empty; "" if there are none."""
    return messages.some_frames("the mask is empty", empty, total, rest=": there is nothing but background")


class Layers:
    """The subject's pictures, its masks and the pictures behind it, frame by frame.

    Args:
        image: IMAGE, the pictures.
        mask: MASK of the subject, or None if the pictures are RGBA.
        background_image: IMAGE, or None.

    `count` is the number of frames. A batch of one is repeated.

    Raises:
        ValueError: there is neither a mask nor an alpha channel, or batches of different lengths.
    """

    def __init__(self, image, mask, background_image) -> None:
        self.images = convert.frames(image)
        self.masks = None if mask is None else convert.masks(mask)
        self.backdrops = None if background_image is None else convert.frames(background_image)
        if self.masks is None and self.images.shape[-1] < 4:
            raise ValueError("Connect mask (1 = subject), or a picture with transparency (RGBA).")
        self.count = len(self.images)
        if self.masks is not None:
            self.count = convert.common_batch(len(self.masks), self.count)
        if self.backdrops is not None:
            names = "background images", "pictures"
            self.count = convert.common_batch(len(self.backdrops), self.count, names)
        self._clean = {name: convert.Cleaner(f"the {name}") for name in ("image", "mask", "background")}

    def subject(self, i: int) -> tuple[Tensor, Tensor]:
        """Frame i's colours [1,H,W,3] and alpha [1,H,W], float32 in 0..1."""
        mask = None if self.masks is None else self._clean["mask"](convert.frame(self.masks, i))
        return composite.split_layers(self._clean["image"](convert.frame(self.images, i)), mask)

    def backdrop(self, i: int) -> Tensor | None:
        """Frame i's background image [1,h,w,C], float32 in 0..1."""
        if self.backdrops is None:
            return None
        return self._clean["background"](convert.frame(self.backdrops, i))
