"""Segment (BiRefNet): mattes pictures; outputs mask, cut-out and coverage."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from .host import convert, memory, messages, schema, values
from .host.model import matte_batch


class BiRefSegment(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefSegment",
            display_name="Segment (BiRefNet)",
            category=schema.CATEGORY,
            description="Finds the subject of each picture: its mask with soft edges, the picture cut out, "
                        "and how much of it the subject covers. Takes batches of any length.",
            search_aliases=["segment subject", "salient object", "foreground mask", "alpha matte"],
            inputs=[
                schema.model_input(),
                schema.image_input(),
                schema.size_input("the picture", "Rounded to a multiple of 32; the mask always has the "
                                                 "picture's own size. Memory and time grow with its "
                                                 "square. "),
                schema.frames_per_pass_input("pictures of a batch"),
            ],
            outputs=[
                schema.mask_output(
                    "mask", "Mask of the subject, 0 to 1, soft edges: 1 = subject, 0 = background. Has the "
                            "picture's size. Join Image with Alpha wants it inverted."),
                schema.cutout_output(
                    "The picture with four channels (RGBA): its own colours, and the mask as opacity (1 = "
                    "visible). Save Image keeps the transparency."),
                schema.coverage_output(),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, model, image, size: int, frames_per_pass: int) -> io.NodeOutput:
        images = convert.frames(image)
        shape = images.shape[:3]
        mask, cutout = memory.empty_result(*shape), memory.empty_result(*shape, 4)
        sums, empty = [], []

        def keep(start: int, stop: int, pictures: Tensor, alpha: Tensor) -> None:
            mask[start:stop] = alpha
            convert.with_alpha(pictures, mask[start:stop], out=cutout[start:stop])
            total = alpha.cpu().double().sum().item()  # MPS has no float64
            peaks = alpha.amax((1, 2)).tolist()
            # Last, where nothing can fail: a pass that runs out of memory is delivered again.
            sums.append(total)
            empty.extend(start + i for i, peak in enumerate(peaks) if peak < messages.PRESENT)

        matte_batch(model, images, keep, size=size, per_pass=frames_per_pass)
        coverage = sum(sums) / max(mask.numel(), 1)
        text = messages.nothing_found(empty, len(images))
        usual = f"The subject covers {coverage:.1%} of the picture"
        return io.NodeOutput(mask, cutout, coverage, ui=messages.status_ui(text, usual))
