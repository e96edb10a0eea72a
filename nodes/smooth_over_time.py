"""Smooth over Time (BiRefNet): reduces flicker in masks of a clip, by birefnet.matting.temporal."""

from __future__ import annotations

from comfy_api.latest import io

from ..birefnet import masks as operators
from ..birefnet.matting.temporal import Smoother
from .host import convert, memory, messages, progress, schema, values


class BiRefTemporal(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefTemporal",
            display_name="Smooth over Time (BiRefNet)",
            category=schema.CATEGORY,
            description="Calms masks that flicker from frame to frame: each takes a share of the one before, "
                        "which is moved along with the picture. Begins anew at every cut. For the "
                        "consecutive frames of one video; in Matte Video, smoothing does the same.",
            search_aliases=["temporal smoothing", "flicker", "deflicker", "stabilize mask", "video mask"],
            inputs=[
                schema.image_input("The frames that the masks belong to, in order: their motion is "
                                   "followed."),
                schema.mask_input("A mask for each frame, 0 to 1: 1 = subject. A mask of another size is "
                                  "resized to the frame."),
                io.Float.Input(
                    "strength", default=0.5, min=0.0, max=1.0, step=0.05,
                    tooltip="How much a mask takes of the one before where it merely flickers. 0: no change. "
                            "0.5 to 0.8 calms; 1 holds on to the past and follows changes late."),
            ],
            outputs=[
                schema.mask_output("smoothed", "The calmed masks, 0 to 1: 1 = subject. As large as the "
                                               "frames."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, image, mask, strength: float) -> io.NodeOutput:
        images, mask = convert.frames(image), convert.masks(mask)
        count = convert.common_batch(len(mask), len(images))
        size = tuple(images.shape[1:3])
        smoother = Smoother(strength)
        clean_mask, clean_image = convert.Cleaner("the mask"), convert.Cleaner("the image")
        result = memory.empty_result(count, *size)
        for i in progress.each(range(count)):
            alpha = operators.resize(clean_mask(convert.frame(mask, i)), size)
            result[i:i + 1] = convert.snap_to_opaque(smoother(clean_image(convert.frame(images, i)), alpha))
        shots = f"{smoother.cuts + 1} shots" if smoother.cuts else "one shot"
        done = f"Done: {count} frames, {shots}" if count else "No frames"
        return io.NodeOutput(result, ui=messages.status_ui("", done))
