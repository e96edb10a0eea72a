"""Composite (BiRefNet): the subject on a new background, by birefnet.composite."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..birefnet import composite
from ..birefnet.imaging.boxes import Box, bounding_box
from .host import convert, layers, memory, messages, preview, progress, schema, values

FARTHEST = float(composite.LARGEST_SIDE)  # pixels by which the subject can be moved
CANVASES = ("picture", "background image")


class BiRefComposite(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefComposite",
            display_name="Composite (BiRefNet)",
            category=schema.CATEGORY,
            description="Lays the subject over a colour, another picture, its own blurred background, or "
                        "nothing, where and as large as you like, with a shadow and the background's light "
                        "on its edge if wanted. The result is flat RGB, ready for VAE Encode and video, "
                        "or RGBA over nothing.",
            search_aliases=["replace background", "overlay", "drop shadow", "light wrap", "flatten alpha",
                            "place subject"],
            inputs=[
                schema.image_input("The pictures with the subject, one or many. For edges without a rim of "
                                   "the old background put Estimate Foreground before."),
                io.Combo.Input(
                    "background", options=list(composite.BACKGROUNDS), default="colour",
                    tooltip="What lies behind the subject: one colour; background_image, sharp or blurred; "
                            "the picture's own background, blurred without the subject; or nothing (the "
                            "result is RGBA)."),
                layers.background_colour_input(),
                layers.fit_input(),
                layers.blur_input(),
                io.Combo.Input(
                    "canvas", options=list(CANVASES), default="picture",
                    tooltip="Whose size the result has: the picture's with the subject, or the background "
                            "image's."),
                io.Combo.Input(
                    "position", options=list(composite.POSITIONS), default="in place",
                    tooltip="in place: keeps its position; the picture is fitted to the canvas. top left: "
                            "pixel for pixel from the canvas's corner. centre, bottom: the subject alone, as "
                            "large as the canvas allows, in the middle or standing on the lower edge. After "
                            "a run, drag it on the preview."),
                schema.number_input("x", 0.0, -FARTHEST, FARTHEST, 1.0,
                                    "Moves the subject right by this many pixels of the canvas; fractions "
                                    "count."),
                schema.number_input("y", 0.0, -FARTHEST, FARTHEST, 1.0,
                                    "Moves the subject down by this many pixels of the canvas; fractions "
                                    "count."),
                schema.number_input("scale", 1.0, 0.01, 16.0, 0.01,
                                    "Multiplies the size that position gives. With centre and bottom, 0.8 "
                                    "means that the subject takes up 80 % of the canvas's height or width."),
                schema.number_input("opacity", 1.0, 0.0, 1.0, 0.01,
                                    "How opaque subject and shadow are: 0 invisible, 1 as the mask says."),
                schema.make(
                    io.Boolean.Input, "linear_light", default=False, advanced=True,
                    tooltip="Mixes colours as light does, instead of as stored (sRGB): soft edges and blurs "
                            "look brighter, as in a photograph. Off: the same as ComfyUI's Image Composite "
                            "Masked."),
                io.Combo.Input(
                    "shadow", options=list(composite.SHADOWS), default="none",
                    tooltip="contact: on the ground that the subject stands on, for products and whole "
                            "figures. drop: on a wall behind it."),
                *layers.shadow_inputs(),
                schema.number_input("light_wrap", 0.0, 0.0, 1.0, 0.01,
                                    "How much light of the background falls on the subject's edge: 0 none, 1 "
                                    "all. Not used with the background transparent."),
                schema.number_input("light_wrap_width", 1.0, 0.0, 20.0, 0.1,
                                    "How far that light reaches over the subject, as a percentage of the "
                                    "canvas's longer side.", advanced=True),
                layers.subject_mask_input(),
                layers.background_image_input(),
                schema.number_input("rotation", 0.0, -360.0, 360.0, 0.1,
                                    "Turns the subject clockwise around its middle, in degrees. After a run, "
                                    "drag the round handle on the preview.", optional=True),
            ],
            outputs=[
                io.Image.Output("composite", display_name="composite",
                                tooltip="The subject on its background: flat RGB. With the background "
                                        "transparent: RGBA, opacity as the fourth channel."),
                io.Mask.Output("alpha", display_name="alpha",
                               tooltip="Where the subject is in the result, 0 to 1: 1 = subject. Its shadow "
                                       "does not count."),
            ],
        )

    @classmethod
    def validate_inputs(cls, colour=None) -> bool | str:
        return values.fault_of_colour(colour, layers.OPAQUE)

    @classmethod
    @values.checked
    def execute(cls, image, background: str, colour: str, fit: str, blur: float, canvas: str, position: str,
                x: float, y: float, scale: float, opacity: float, linear_light: bool, shadow: str,
                shadow_strength: float, shadow_softness: float, shadow_x: float, shadow_y: float,
                light_wrap: float, light_wrap_width: float, mask=None, background_image=None,
                rotation: float = 0.0) -> io.NodeOutput:
        parts = layers.Layers(image, mask, background_image)
        if parts.backdrops is None and ("image" in background or canvas != "picture"):
            raise ValueError(f"Connect background_image: background {background!r} on the canvas {canvas!r} "
                             "needs it.")
        count, picture_size = parts.count, tuple(parts.images.shape[1:3])
        size = picture_size if canvas == "picture" else tuple(parts.backdrops.shape[1:3])
        colour = composite.opaque_colour(colour, layers.OPAQUE)
        backdrop = composite.Background(background, colour, fit, blur / 100, linear_light)
        settings = composite.BlendSettings(opacity, linear_light, shadow, shadow_strength,
                                           shadow_softness / 100,
                                           shadow_x / 100, shadow_y / 100, light_wrap,
                                           light_wrap_width / 100 * max(size))
        result = memory.empty_result(count, *size, 4 if background == "transparent" else 3)
        alpha = memory.empty_result(count, *size)
        empty, placing = [], ()
        for i in progress.each(range(count)):
            picture, matte = parts.subject(i)
            box = bounding_box(matte[0])
            if box is None:
                empty.append(i)
                box = Box(0, 0, *matte.shape[1:])
            where = composite.place_subject(position, tuple(matte.shape[1:]), size, box, scale, x, y,
                                            rotation)
            behind = backdrop.render(picture, matte, size, parts.backdrop(i))
            result[i:i + 1], alpha[i:i + 1] = composite.compose(picture, matte, where, size, behind,
                                                                 settings)
            if not i:
                placing = placement_view(position, picture, matte, behind, size, box)
        resized = "" if mask is None else messages.resized_text(tuple(parts.masks.shape[1:]), picture_size)
        text = "; ".join(filter(None, [resized, layers.no_subject(empty, count)]))
        line = messages.status_ui(text, messages.done(count, size))
        return io.NodeOutput(result, alpha, ui=line | {"biref_place": placing})


def placement_view(position: str, picture: Tensor, matte: Tensor, behind: Tensor | None,
                   size: tuple[int, int], box: Box) -> tuple[dict, ...]:
    """Return what web/place.js needs to drag the subject on the result; () without a page.

    These are both layers; in pixels of the canvas, the corner of the subject's picture at scale 1 and how far
    it moves when the scale grows by 1; and the subject's box, in pixels of its picture.
    """
    subject = preview.picture(convert.with_alpha(picture, matte.to(picture)))
    if not subject:
        return ()
    one, two = (composite.place_subject(position, tuple(matte.shape[1:]), size, box, scale)
                for scale in (1, 2))
    background = None if behind is None else preview.picture(behind)[0]
    return ({"subject": subject[0], "background": background, "width": size[1], "height": size[0],
             "left": one.left, "top": one.top, "zoom": one.scale, "left_per_scale": two.left - one.left,
             "top_per_scale": two.top - one.top, "box": [box.left, box.top, box.right, box.bottom]},)
