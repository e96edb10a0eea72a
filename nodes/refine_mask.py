"""Refine Mask (BiRefNet): applies the mask operators of birefnet.masks."""

from __future__ import annotations

from comfy_api.latest import io

from ..birefnet import masks
from .host import convert, memory, messages, progress, schema, values

LARGEST_AREA = 8192 * 8192  # pixels


class BiRefRefineMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefRefineMask",
            display_name="Refine Mask (BiRefNet)",
            category=schema.CATEGORY,
            description="Repairs and shapes a mask (1 = subject), in this order: black and white point, "
                        "largest pieces, specks, holes, edges, grow, feather. With the defaults the mask "
                        "stays as it is.",
            search_aliases=["grow mask", "feather mask", "fill holes", "despeckle", "clean mask"],
            inputs=[
                schema.mask_input("The masks to refine, 0 to 1, soft or hard: 1 = subject."),
                io.Float.Input(
                    "black_point", default=0.0, min=0.0, max=1.0, step=0.01,
                    tooltip="Mask values up to this, 0 to 1, become 0 (background). Clears haze around the "
                            "subject; must be below white_point. 0: no change."),
                io.Float.Input(
                    "white_point", default=1.0, min=0.0, max=1.0, step=0.01,
                    tooltip="Mask values from this on, 0 to 1, become 1 (subject); between the two points "
                            "values are stretched. Makes a see-through subject solid. 1: no change."),
                io.Float.Input(
                    "grow", default=0.0, min=-256.0, max=256.0, step=0.5,
                    tooltip="Moves the subject's edge outwards by this many pixels; below 0 inwards, which "
                            "removes a rim of background. 0: no change."),
                io.Float.Input(
                    "feather", default=0.0, min=0.0, max=256.0, step=0.5,
                    tooltip="Softens the edge over about this many pixels on either side. 0: no change."),
                io.Int.Input(
                    "fill_holes", default=0, min=0, max=LARGEST_AREA, step=1,
                    tooltip="Holes inside the subject of up to this area, in pixels (30×30 is 900), become "
                            "subject. 0: no change."),
                io.Int.Input(
                    "drop_specks", default=0, min=0, max=LARGEST_AREA, step=1,
                    tooltip="Separate pieces smaller than this area, in pixels (30×30 is 900), become "
                            "background. 0: no change."),
                io.Int.Input(
                    "keep_largest", default=0, min=0, max=1000, step=1,
                    tooltip="Keeps only this many of the largest separate pieces. 1: only the main subject. "
                            "0: all."),
                io.Int.Input(
                    "edge_radius", default=0, min=0, max=256, step=1,
                    tooltip="Fits the mask's edge to the picture's edges within this many pixels (a guided "
                            "filter); needs image. 4 to 16 suits most pictures. 0: no change."),
                io.Float.Input(
                    "edge_strength", default=1.0, min=0.0, max=1.0, step=0.05,
                    tooltip="How much of that fitting is used: 0 none, 1 all. Has no effect while "
                            "edge_radius is 0."),
                schema.image_input(
                    "The pictures that the masks belong to, as a guide for edge_radius; one for all masks, "
                    "or one each. A mask of another size is resized to the picture.", optional=True),
            ],
            outputs=[
                schema.mask_output("refined", "The refined masks, 0 to 1: 1 = subject. As large as the "
                                              "picture, or as the mask where no picture is connected."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, mask, black_point: float, white_point: float, grow: float, feather: float,
                fill_holes: int, drop_specks: int, keep_largest: int, edge_radius: int, edge_strength: float,
                image=None) -> io.NodeOutput:
        mask = convert.masks(mask)
        guide = None if image is None else convert.frames(image)
        if edge_radius and guide is None:
            raise ValueError("Connect image, or set edge_radius to 0: it needs the picture as a guide.")
        count = len(mask) if guide is None else convert.common_batch(len(mask), len(guide))
        size = tuple(mask.shape[1:] if guide is None else guide.shape[1:3])
        resized = messages.resized_text(tuple(mask.shape[1:]), size)

        result = memory.empty_result(count, *size)
        clean_mask, clean_image = convert.Cleaner("the mask"), convert.Cleaner("the image")
        for i in progress.each(range(count)):
            single = clean_mask(convert.frame(mask, i))
            picture = None if guide is None else clean_image(convert.frame(guide, i)).to(single.device)
            result[i:i + 1] = convert.snap_to_opaque(masks.refine(
                single, picture, black=black_point, white=white_point, grow=grow, feather=feather,
                fill=fill_holes, specks=drop_specks, largest=keep_largest, radius=edge_radius,
                strength=edge_strength))
        return io.NodeOutput(result, ui=messages.status_ui(resized, messages.done(count, size, "mask")))
