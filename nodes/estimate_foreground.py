"""Estimate Foreground (BiRefNet): the subject's true colours, by birefnet.matting.foreground."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..birefnet import composite
from ..birefnet.matting import foreground
from .host import convert, memory, messages, schema, values

MULTI_LEVEL, BLUR_FUSION = foreground.METHODS
FIRST, SECOND = foreground.WIDTHS
OFF, MEASURED = "off", "measured"
DESPILL = (OFF, MEASURED, "colour")
SCREEN = "#00b140"  # a usual green of screens
OPAQUE = "a screen has no transparency"  # advice in the error for a colour with alpha


class BiRefForeground(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefForeground",
            display_name="Estimate Foreground (BiRefNet)",
            category=schema.CATEGORY,
            description="Finds the subject's own colours where its edge is soft (hair, fur, motion blur, "
                        "glass), so that no fringe of the old background is left when it is laid over "
                        "another one. Without despill, opaque pixels stay exactly as they are.",
            search_aliases=["foreground colour", "defringe", "decontaminate", "despill", "blur fusion",
                            "refine foreground", "straight alpha"],
            inputs=[
                schema.image_input(
                    "The pictures with their old background, as they were when the mask was made; one or "
                    "many. What is already transparent in an RGBA picture stays transparent."),
                schema.mask_input(),
                io.Combo.Input(
                    "method", options=[MULTI_LEVEL, BLUR_FUSION], default=MULTI_LEVEL,
                    tooltip="multi-level: the better colours, and fast; has no settings. blur fusion: from "
                            "averages over two windows, as other packs do it."),
                io.Int.Input(
                    "first_blur", default=FIRST, min=1, max=1024, step=1,
                    tooltip="Blur fusion only: width of the first window in pixels. About as wide as the "
                            "widest soft edge or more. The usual value is 90."),
                io.Int.Input(
                    "second_blur", default=SECOND, min=1, max=1024, step=1,
                    tooltip="Blur fusion only: width of the second window in pixels, which brings back "
                            "detail. The usual value is 6."),
                io.Combo.Input(
                    "despill", options=list(DESPILL), default=OFF, optional=True,
                    tooltip="Removes the light that a green or blue screen throws on the subject, in linear "
                            "light; the mask stays. measured: the screen's colour is measured along each "
                            "picture's border. colour: it is the one below."),
                schema.colour_input(
                    "Despill by colour only: the screen's colour as in CSS: a word, #00b140 (the green of "
                    "green screens), rgb(0 71 187).", default=SCREEN, optional=True),
                io.Combo.Input(
                    "spill_limit", options=list(foreground.LIMITS), default=foreground.LIMITS[0],
                    optional=True,
                    tooltip="Despill only: green (or blue) above this of the other two channels counts as "
                            "spill. average: removes most. maximum: leaves yellow (at blue screens purple) "
                            "as it is."),
                io.Float.Input(
                    "spill_strength", default=1.0, min=0.0, max=1.0, step=0.05, optional=True,
                    tooltip="Despill only: share of the spill that is removed."),
            ],
            outputs=[
                io.Image.Output(
                    "foreground", display_name="foreground",
                    tooltip="The subject's colours over the whole picture, RGB without transparency. Where "
                            "the mask is 0 they are continued smoothly. With the mask, ready for any "
                            "compositing node."),
                schema.cutout_output(
                    "The same colours with the mask as opacity (RGBA, 1 = visible, colours not multiplied by "
                    "it). Save Image keeps the transparency."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, image, mask, method: str, first_blur: int, second_blur: int, despill: str = OFF,
                colour: str = SCREEN, spill_limit: str = foreground.LIMITS[0], spill_strength: float = 1.0
                ) -> io.NodeOutput:
        images, mask = convert.frames(image), convert.masks(mask)
        count = convert.common_batch(len(mask), len(images))
        size = tuple(images.shape[1:3])

        colours, cutout = memory.empty_result(count, *size, 3), memory.empty_result(count, *size, 4)
        clean_image, clean_mask = convert.Cleaner("the image"), convert.Cleaner("the mask")
        device = memory.device("auto")

        def run(start: int, stop: int) -> None:
            picture, alpha = composite.split_layers(clean_image(convert.frame(images, start)).to(device),
                                                    clean_mask(convert.frame(mask, start)))
            found = foreground.estimate(picture, alpha, method, widths=(first_blur, second_blur))
            if despill != OFF:
                screen = (foreground.measure_screen(picture[0], alpha[0]) if despill == MEASURED else
                          composite.opaque_colour(colour, OPAQUE))
                found = foreground.despill(found, screen, spill_limit, strength=spill_strength)
            colours[start:stop] = found
            cutout[start:stop] = convert.with_alpha(found, alpha)

        def lower() -> bool:
            nonlocal device
            if device.type == "cpu":
                return False
            messages.say_cpu_takes_over(device)
            device = torch.device("cpu")
            return True

        memory.in_passes(count, 1, run, lower)
        text = messages.resized_text(tuple(mask.shape[1:]), size)
        return io.NodeOutput(colours, cutout, ui=messages.status_ui(text, messages.done(count, size)))
