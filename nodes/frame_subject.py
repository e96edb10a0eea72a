"""Frame Subject (BiRefNet): crops, scales and places subjects alike on a canvas, by
birefnet.composite.frame."""

from __future__ import annotations

import comfy.utils
import torch
from comfy_api.latest import io

from ..birefnet import composite
from ..birefnet.imaging.boxes import Box
from .host import layers, memory, messages, progress, schema, values
from .host.crop import Crop, CropSocket

ORIGINAL = "original"
PER_CENT, PIXELS = "per cent", "pixels"
ASPECTS = ("free", "1:1", "5:4", "4:5", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16")


class BiRefFrame(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefFrame",
            display_name="Frame Subject (BiRefNet)",
            category=schema.CATEGORY,
            description="Crops pictures to their subjects and puts these on a canvas of a fixed size, with "
                        "the same margin, size and ground line in all of them: for shops and catalogues, or "
                        "to crop photographs for a data set. Inpaint Paste takes a framed picture back.",
            search_aliases=["crop to mask", "crop by mask", "autocrop", "product photo", "catalogue",
                            "centre subject", "pad to square", "resize subject"],
            inputs=[
                schema.image_input("The pictures with the subject, one or many. For edges without a rim of "
                                   "the old background put Estimate Foreground before."),
                io.Int.Input(
                    "width", default=2000, min=0, max=composite.LARGEST_SIDE, step=1,
                    tooltip="Width of the canvas in pixels. 0: from height and aspect. Both 0: nothing is "
                            "resized, the picture is cropped to the subject and its margin."),
                io.Int.Input(
                    "height", default=2000, min=0, max=composite.LARGEST_SIDE, step=1,
                    tooltip="Height of the canvas in pixels. 0: from width and aspect. Both 0: nothing is "
                            "resized, the picture is cropped to the subject and its margin."),
                schema.number_input("margin", 5.0, 0.0, 4096.0, 0.5,
                                    "Room kept free on every side of the subject; see margin_unit."),
                io.Combo.Input(
                    "margin_unit", options=[PER_CENT, PIXELS], default=PER_CENT,
                    tooltip="The unit of margin: a percentage of the canvas's shorter side, or pixels of "
                            "the canvas."),
                io.Combo.Input(
                    "position", options=list(composite.FRAME_POSITIONS), default="centre",
                    tooltip="centre: in the middle. bottom: in the middle of the width, standing on the "
                            "ground line. keep: as far to the right and down as it was in its picture, "
                            "within the margins."),
                schema.number_input("ground", 5.0, 0.0, 90.0, 0.5,
                                    "Height of the ground line above the canvas's lower edge, as a "
                                    "percentage of its height. Only for position bottom."),
                io.Combo.Input(
                    "scale_by", options=list(composite.SCALE_BY), default="fit",
                    tooltip="How large subjects get. fit: each as large as the margins allow. height, area: "
                            "all of them equally high, or of equal area; see share. These need a canvas of "
                            "known size: width and height, or one of both and aspect."),
                schema.number_input("share", 0.0, 0.0, 100.0, 0.5,
                                    "That height or area as a percentage of the canvas's; set it to get the "
                                    "same size in every run. 0: the largest at which all pictures of the "
                                    "batch have room."),
                io.Combo.Input(
                    "aspect", options=list(ASPECTS), default="free",
                    tooltip="Width : height of the canvas, where width or height is 0. free: the subject's "
                            "own."),
                io.Combo.Input(
                    "multiple", options=["1", "8", "16", "32", "64"], default="1",
                    tooltip="Width and height are rounded up to multiples of this. 1 for pictures, 8 or more "
                            "for diffusion models."),
                schema.number_input("threshold", composite.SUBJECT_ALPHA, 0.01, 1.0, 0.01,
                                    "The subject's box holds every pixel whose mask is at least this, 0 to "
                                    "1. Lower: faint hair counts; higher: haze does not.", advanced=True),
                io.Combo.Input(
                    "background", options=[*composite.BACKGROUNDS, ORIGINAL], default="colour",
                    tooltip="What lies behind the subject: one colour; background_image, sharp or blurred; "
                            "the picture's own background, blurred without the subject; nothing (the result "
                            "is RGBA); original: the photograph as it is, only cropped and resized."),
                layers.background_colour_input(),
                layers.fit_input(),
                layers.blur_input(advanced=True),
                io.Combo.Input(
                    "shadow", options=list(composite.SHADOWS), default="none",
                    tooltip="contact: on the ground that the subject stands on, for products and whole "
                            "figures. drop: on a wall behind it. Not with the background original."),
                *layers.shadow_inputs(),
                layers.subject_mask_input(),
                layers.background_image_input(),
            ],
            outputs=[
                io.Image.Output("framed", display_name="image",
                                tooltip="The framed pictures, all of one size: flat RGB. With the background "
                                        "transparent: RGBA, opacity as the fourth channel."),
                io.Mask.Output("alpha", display_name="alpha",
                               tooltip="Where the subject is in them, 0 to 1: 1 = subject. Its shadow does "
                                       "not count."),
                CropSocket.Output("transform", display_name="transform",
                                  tooltip="Where the framed pictures came from: Inpaint Paste puts what "
                                          "became of them back into the photographs, the subject alone or, "
                                          "with the background original, all that the frame shows."),
            ],
        )

    @classmethod
    def validate_inputs(cls, colour=None) -> bool | str:
        return values.fault_of_colour(colour, layers.OPAQUE)

    @classmethod
    @values.checked
    def execute(cls, image, width: int, height: int, margin: float, margin_unit: str, position: str,
                ground: float, scale_by: str, share: float, aspect: str, multiple: str, threshold: float,
                background: str, colour: str, fit: str, blur: float, shadow: str, shadow_strength: float,
                shadow_softness: float, shadow_x: float, shadow_y: float, mask=None, background_image=None
                ) -> io.NodeOutput:
        parts = layers.Layers(image, mask, background_image)
        if parts.backdrops is None and "image" in background:
            raise ValueError(f"Connect background_image: background {background!r} needs it.")
        across, _, down = aspect.partition(":")
        margin, unit = (margin / 100, "share") if margin_unit == PER_CENT else (margin, "pixels")
        framing = composite.Framing(width, height, margin, unit, position, ground / 100, scale_by,
                                    share / 100, int(across) / int(down) if down else 0.0, int(multiple))
        colour = composite.opaque_colour(colour, layers.OPAQUE)
        count, picture_size = parts.count, tuple(parts.images.shape[1:3])
        bar = comfy.utils.ProgressBar(2 * count)
        regions, found = torch.empty(count, *picture_size), []
        for i in progress.each(range(count), bar):
            _, regions[i:i + 1] = parts.subject(i)
            found.append(composite.measure_subject(regions[i], threshold))
        present = [i for i, subject in enumerate(found) if subject is not None]
        plan = composite.plan_frames([found[i] for i in present] or
                                     [composite.Subject(picture_size, Box(0, 0, *picture_size), 1)], framing)
        places = dict(zip(present, plan.places))
        backdrop = None
        if background != ORIGINAL:
            backdrop = composite.Background(background, colour, fit, blur / 100, linear_light=False)
        settings = composite.BlendSettings(
            shadow=shadow, shadow_strength=shadow_strength, shadow_softness=shadow_softness / 100,
            shadow_x=shadow_x / 100, shadow_y=shadow_y / 100)

        framed = memory.empty_result(count, *plan.canvas, 4 if background == "transparent" else 3)
        alpha = memory.empty_result(count, *plan.canvas)
        windows = []
        for i in progress.each(range(count), bar):
            picture, matte = parts.subject(i)
            where = places.get(i, plan.places[0])
            behind = (composite.show_original(picture, where, plan.canvas, colour) if backdrop is None else
                      backdrop.render(picture, matte, plan.canvas, parts.backdrop(i)))
            composed, alpha[i:i + 1] = composite.compose(picture, matte, where, plan.canvas, behind, settings)
            framed[i:i + 1] = behind if backdrop is None else composed
            windows.append(composite.framed_window(where, plan.canvas))
        if backdrop is None:
            regions = torch.ones(1, 1, 1).expand_as(regions)
        resized = "" if mask is None else messages.resized_text(tuple(parts.masks.shape[1:]), picture_size)
        limited = [present[i] for i in plan.limited if present]
        text = "; ".join(filter(None, [
            resized, layers.no_subject(sorted(set(range(count)) - set(present)), count),
            messages.some_frames(f"no room for that {scale_by}", limited, count,
                                 rest=": the subject fills what the margins leave")]))
        line = messages.status_ui(text, messages.done(count, plan.canvas))
        return io.NodeOutput(framed, alpha, Crop(parts.images, regions, windows), ui=line)
