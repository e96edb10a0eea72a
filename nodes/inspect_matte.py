"""Inspect Matte (BiRefNet): four views of a matte, by birefnet.matting.views, and its subject's box."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..birefnet import composite, masks
from ..birefnet.imaging.boxes import Box, bounding_box, enclosing_box
from ..birefnet.imaging.resize import over_grey
from ..birefnet.matting.views import make_views
from .host import convert, memory, messages, progress, schema, values


class BiRefInspect(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefInspect",
            display_name="Inspect Matte (BiRefNet)",
            category=schema.CATEGORY,
            description="Shows how good a matte is: the background tinted, the cut-out on a checkerboard, "
                        "the mask itself, and where its edges are soft. Says how much the subject covers, "
                        "and its box.",
            search_aliases=["preview mask", "compare mask", "mask bounding box", "checkerboard"],
            is_output_node=True,
            inputs=[
                schema.image_input("The pictures that the masks belong to, one or many."),
                schema.mask_input(),
                schema.colour_input("Colour of the overlay and of the edge band, as in CSS: a word, #20a0ff, "
                                    "rgb(32 160 255).", default="#ff0000"),
                io.Int.Input(
                    "size", default=512, min=0, max=4096, step=32,
                    tooltip="Longer side of each of the four views, in pixels. 0: the picture's own."),
                io.Int.Input(
                    "frames", default=4, min=1, max=256, step=1,
                    tooltip="How many pictures of a longer batch are shown, spread evenly over it. Coverage "
                            "and box always come from all of them."),
            ],
            outputs=[
                io.Image.Output("comparison", display_name="comparison",
                                tooltip="The four views of each picture that is shown, as one picture."),
                schema.coverage_output(),
                io.Int.Output("x", display_name="x", tooltip="Left side of the subject's box, in pixels."),
                io.Int.Output("y", display_name="y", tooltip="Upper side of the subject's box, in pixels."),
                io.Int.Output("width", display_name="width",
                              tooltip="Width of the subject's box, in pixels; 0 where there is no subject."),
                io.Int.Output("height", display_name="height",
                              tooltip="Height of the subject's box, in pixels; 0 where there is no subject."),
                schema.BoundingBox.Output(
                    "box", display_name="box",
                    tooltip="The same box as ComfyUI's own Crop Image and Draw BBoxes take "
                            "it. Of a batch: one box around the subjects of all pictures."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, image, mask, colour: str, size: int, frames: int) -> io.NodeOutput:
        images, mask = convert.frames(image), convert.masks(mask)
        count = convert.common_batch(len(mask), len(images))
        picture = tuple(images.shape[1:3])
        tint = composite.opaque_colour(colour, "choose one without transparency")
        shown = set(torch.linspace(0, count - 1, min(frames, count)).round().int().tolist())
        clean_image, clean_mask = convert.Cleaner("the image"), convert.Cleaner("the mask")
        comparison, boxes, total = [], [], 0.0
        for i in progress.each(range(count)):
            single = masks.resize(clean_mask(convert.frame(mask, i)), picture)
            total += single.cpu().double().mean().item()  # MPS has no float64
            boxes.append(bounding_box(single[0]))
            if i in shown:
                colours = over_grey(clean_image(convert.frame(images, i))).to(single.device)
                comparison.append(make_views(colours, single, tint, size))
        coverage = total / max(count, 1)
        box = enclosing_box(boxes)
        resized = messages.resized_text(tuple(mask.shape[1:]), picture)
        text = "; ".join(filter(None, [resized, describe_subject(coverage, box, count)]))
        comparison = torch.cat(comparison) if comparison else memory.empty_result(0, *picture, 3)
        preview = ui.PreviewImage(comparison, cls=cls).as_dict() if len(comparison) else {}
        x, y, width, height = (0,) * 4
        if box:
            x, y, width, height = box.left, box.top, box.width, box.height
        return io.NodeOutput(comparison, coverage, x, y, width, height,
                             {"x": x, "y": y, "width": width, "height": height},
                             ui=preview | messages.text_ui(text, warning=box is None))


def describe_subject(coverage: float, box: Box | None, count: int) -> str:
    """Return a message with the subject's coverage and box, or that there is none."""
    if not count:
        return "no pictures"
    if box is None:
        return "no subject: the mask is empty"
    return (f"the subject covers {coverage:.1%}, in a box of {box.width}×{box.height} "
            f"pixels at ({box.left}, {box.top})")
