"""Composite (BiRefNet): the subject on a new background, by birefnet.composite."""

from __future__ import annotations

from comfy_api.latest import io

from ..birefnet import composite
from ..birefnet.imaging.boxes import Box, bounding_box
from .host import convert, memory, messages, progress, schema, values
from .refine_mask import resized_text

CANVASES = ("picture", "background image")


class BiRefComposite(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefComposite",
            display_name="Composite (BiRefNet)",
            category=schema.CATEGORY,
            description="Lays the subject over a colour, another picture, its own blurred background, or nothing, "
                        "where and as large as you like, with a shadow and the background's light on its edge if "
                        "wanted. The result is flat RGB, ready for VAE Encode and video.",
            search_aliases=[*schema.ALIASES, "replace background", "overlay", "drop shadow", "light wrap", "flatten"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures with the subject, one or many. For edges without a rim "
                                                "of the old background put Estimate Foreground before."),
                io.Combo.Input(
                    "background", options=list(composite.BACKGROUNDS), default="colour",
                    tooltip="What lies behind the subject: one colour; background_image, sharp or blurred; the "
                            "picture's own background, blurred without the subject; or nothing (the result is RGBA)."),
                io.String.Input(
                    "colour", default="white",
                    tooltip="The background's colour as in CSS: a word (white, navy), #20a0ff, rgb(32 160 255), "
                            "hsl(206 100% 56%). Also what shows beside and through a background image."),
                io.Combo.Input(
                    "fit", options=list(composite.FITS), default="fill",
                    tooltip="How a background image meets a canvas of another size. fill: covers it, cropped evenly. "
                            "fit: all of it is seen, colour beside it. stretch: distorted. tile: repeated at its own "
                            "size."),
                io.Float.Input(
                    "blur", default=2.0, min=0.0, max=50.0, step=0.1,
                    tooltip="How far the blurred backgrounds are blurred, in per cent of the canvas's longer side."),
                io.Combo.Input(
                    "canvas", options=list(CANVASES), default="picture",
                    tooltip="Whose size the result has: the picture's with the subject, or the background image's."),
                io.Combo.Input(
                    "position", options=list(composite.POSITIONS), default="in place",
                    tooltip="in place: where it is in the picture, which fills the canvas as far as it can. top left: "
                            "pixel for pixel from the canvas's corner. centre, bottom: the subject by itself, as large "
                            "as the canvas allows, in the middle or standing on the lower edge."),
                io.Float.Input("x", default=0.0, min=-16384.0, max=16384.0, step=1.0,
                               tooltip="Moves the subject right by so many pixels of the canvas; fractions count."),
                io.Float.Input("y", default=0.0, min=-16384.0, max=16384.0, step=1.0,
                               tooltip="Moves the subject down by so many pixels of the canvas; fractions count."),
                io.Float.Input(
                    "scale", default=1.0, min=0.01, max=16.0, step=0.01,
                    tooltip="Multiplies the size that position gives. With centre and bottom, 0.8 means that the "
                            "subject takes up 80 % of the canvas."),
                io.Float.Input("opacity", default=1.0, min=0.0, max=1.0, step=0.01,
                               tooltip="How opaque subject and shadow are: 0 invisible, 1 as the mask says."),
                schema.make(
                    io.Boolean.Input, "linear_light", default=False, advanced=True,
                    tooltip="Mixes colours as light does, instead of as stored (sRGB): soft edges and blurs look "
                            "brighter, as in a photograph. Off: the same as ComfyUI's Image Composite Masked."),
                io.Combo.Input(
                    "shadow", options=list(composite.SHADOWS), default="none",
                    tooltip="contact: on the ground that the subject stands on, for products and whole figures. drop: "
                            "on a wall behind it."),
                io.Float.Input("shadow_strength", default=0.5, min=0.0, max=1.0, step=0.01,
                               tooltip="How dark the shadow gets: 0 not at all, 1 black."),
                schema.make(
                    io.Float.Input, "shadow_softness", default=5.0, min=0.0, max=50.0, step=0.1, advanced=True,
                    tooltip="How soft and wide the shadow is, in per cent of the subject's longer side."),
                schema.make(
                    io.Float.Input, "shadow_x", default=0.0, min=-100.0, max=100.0, step=0.1, advanced=True,
                    tooltip="Moves the shadow right, in per cent of the subject's longer side."),
                schema.make(
                    io.Float.Input, "shadow_y", default=1.0, min=-100.0, max=100.0, step=0.1, advanced=True,
                    tooltip="Moves the shadow down, in per cent of the subject's longer side."),
                io.Float.Input("light_wrap", default=0.0, min=0.0, max=1.0, step=0.01,
                               tooltip="How much light of the background falls on the subject's edge: 0 none, 1 all."),
                schema.make(
                    io.Float.Input, "light_wrap_width", default=1.0, min=0.0, max=20.0, step=0.1, advanced=True,
                    tooltip="How far that light reaches over the subject, in per cent of the canvas's longer side."),
                io.Mask.Input(
                    "mask", optional=True,
                    tooltip="The subject's masks, 0 to 1: 1 = subject. One for all pictures, or one each. Without it, "
                            "the transparency of an RGBA picture counts; with both, the smaller value of each pixel."),
                io.Image.Input(
                    "background_image", optional=True,
                    tooltip="Pictures for the backgrounds image and blurred image; one for all, or one each."),
            ],
            outputs=[
                io.Image.Output("composite", display_name="composite",
                                tooltip="The subject on its background: flat RGB. With the background transparent: "
                                        "RGBA, opacity as the fourth channel."),
                io.Mask.Output("alpha", display_name="alpha",
                               tooltip="Where the subject is in the result, 0 to 1: 1 = subject. Its shadow does not "
                                       "count."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, image, background: str, colour: str, fit: str, blur: float, canvas: str, position: str, x: float,
                y: float, scale: float, opacity: float, linear_light: bool, shadow: str, shadow_strength: float,
                shadow_softness: float, shadow_x: float, shadow_y: float, light_wrap: float, light_wrap_width: float,
                mask=None, background_image=None) -> io.NodeOutput:
        images = convert.frames(image)
        mask = None if mask is None else convert.masks(mask)
        backdrops = None if background_image is None else convert.frames(background_image)
        if mask is None and images.shape[-1] < 4:
            raise ValueError("expected a mask, or a picture with transparency (RGBA): connect mask (1 = subject)")
        if backdrops is None and ("image" in background or canvas != "picture"):
            raise ValueError(f"background {background!r} on the canvas {canvas!r} needs a picture: connect "
                             "background_image")
        count = len(images) if mask is None else convert.common_batch(len(mask), len(images))
        if backdrops is not None:
            count = convert.common_batch(len(backdrops), count, ("background images", "pictures"))
        size = tuple((images if canvas == "picture" else backdrops).shape[1:3])
        colour = composite.opaque_colour(colour, "for a transparent background set background to transparent")
        backdrop = composite.Background(background, colour, fit, blur / 100, linear_light)
        settings = composite.BlendSettings(opacity, linear_light, shadow, shadow_strength, shadow_softness / 100,
                                           shadow_x / 100, shadow_y / 100, light_wrap,
                                           light_wrap_width / 100 * max(size))
        result = memory.empty_result(count, *size, 4 if background == "transparent" else 3)
        alpha = memory.empty_result(count, *size)
        clean_image, clean_mask, clean_backdrop = map(convert.Cleaner, ("the image", "the mask", "the background"))
        empty = []
        for i in progress.each(range(count)):
            picture, matte = composite.split_layers(clean_image(convert.frame(images, i)),
                                             None if mask is None else clean_mask(convert.frame(mask, i)))
            box = bounding_box(matte[0])
            if box is None:
                empty.append(i)
                box = Box(0, 0, *matte.shape[1:])
            where = composite.place_subject(position, tuple(matte.shape[1:]), size, box, scale, x, y)
            other = None if backdrops is None else clean_backdrop(convert.frame(backdrops, i))
            behind = backdrop.behind(picture, matte, size, other)
            result[i:i + 1], alpha[i:i + 1] = composite.compose(picture, matte, where, size, behind,
                                                                settings)
        resized = "" if mask is None else resized_text(tuple(mask.shape[1:]), tuple(images.shape[1:3]))
        text = "; ".join(filter(None, [resized, no_subject(empty, count)]))
        return io.NodeOutput(result, alpha, ui=messages.remark(text, f"{size[1]}×{size[0]}"))


def no_subject(empty: list[int], total: int) -> str:
    """A sentence about the frames, by index, that show nothing but their background; "" if there are none."""
    if not empty:
        return ""
    which = "" if total == 1 else f" {convert.in_some(empty, total, 'pictures')}"
    return f"the mask is empty{which}: there is nothing but background"
