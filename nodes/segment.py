"""Segment (BiRefNet): the subject's mask and cut-out of pictures."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from .host import convert, memory, messages, schema, values
from .host.model import matte_batch

PRESENT = 0.5  # alpha that some pixel of a frame must reach for its subject to count as found


class BiRefSegment(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefSegment",
            display_name="Segment (BiRefNet)",
            category=schema.CATEGORY,
            description="Finds the subject of each picture: its mask with soft edges, the picture cut out, and how "
                        "much of it the subject covers. Takes batches of any length.",
            search_aliases=[*schema.ALIASES, "remove background", "transparent background"],
            inputs=[
                schema.BackgroundRemoval.Input(
                    "model", tooltip="A network from Load BiRefNet, or from ComfyUI's Load Background Removal Model."),
                io.Image.Input(
                    "image", tooltip="The pictures, of any size, one or many; grey, RGB or RGBA. What is already "
                                     "transparent in an RGBA picture stays transparent."),
                io.Int.Input(
                    "size", default=0, min=0, max=4096, step=32,
                    tooltip="Longer side, in pixels, at which the network sees the picture (rounded to a multiple of "
                            "32); the mask always has the picture's own size. 0: the size the checkpoint was made "
                            "for, which is nearly always best. Memory and time grow with its square."),
                io.Int.Input(
                    "frames_per_pass", default=0, min=0, max=1024, step=1,
                    tooltip="How many pictures of a batch are on the GPU at a time. 0: as many as memory allows. The "
                            "result does not depend on it."),
            ],
            outputs=[
                io.Mask.Output(
                    "mask", display_name="mask",
                    tooltip="Mask of the subject, 0 to 1, soft edges: 1 = subject, 0 = background. Has the picture's "
                            "size. Join Image with Alpha wants it inverted."),
                io.Image.Output(
                    "cutout", display_name="cutout",
                    tooltip="The picture with four channels (RGBA): its own colours, and the mask as opacity "
                            "(1 = visible). Save Image keeps the transparency."),
                io.Float.Output(
                    "coverage", display_name="coverage",
                    tooltip="Share of all the pictures' area that the subject covers: the mean of the mask, 0 to 1."),
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
            convert.cutout(pictures, mask[start:stop], out=cutout[start:stop])
            total, peaks = alpha.cpu().double().sum().item(), alpha.amax((1, 2)).tolist()  # MPS has no float64
            # Nothing can fail from here on: a pass that runs out of memory is delivered again.
            sums.append(total)
            empty.extend(start + i for i, peak in enumerate(peaks) if peak < PRESENT)

        matte_batch(model, images, keep, size=size, per_pass=frames_per_pass)
        coverage = sum(sums) / max(mask.numel(), 1)
        text = nothing_found(empty, len(images))
        return io.NodeOutput(mask, cutout, coverage, ui=messages.remark(text, f"the subject covers {coverage:.1%}"))


def nothing_found(empty: list[int], total: int) -> str:
    """A sentence about the frames without a subject, by index; "" if there are none."""
    if not empty:
        return ""
    advice = "the mask is empty there. Try another checkpoint, or crop closer to the subject"
    if total == 1:
        return f"no subject found in the picture: {advice.replace(' there', '')}"
    return f"no subject found {convert.in_some(empty, total, 'pictures')}: {advice}"
