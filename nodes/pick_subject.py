"""Pick Subject (BiRefNet): birefnet.matting.subject on a socket."""

from __future__ import annotations

from collections.abc import Callable

from comfy_api.latest import io
from torch import Tensor

from ..birefnet import masks
from ..birefnet.matting import subject
from .host import convert, memory, messages, preview, schema, values
from .host.alpha import Progress, alpha_of
from .host.boxes import box_of, boxes_per_frame
from .host.points import points_of

Look = Callable[[subject.AlphaOf, Tensor], Tensor]


class BiRefSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefSubject",
            display_name="Pick Subject (BiRefNet)",
            category=schema.CATEGORY,
            description="Takes one subject of several: the one in a box, under a point, or under a coarse "
                        "mask. The model looks at a crop around it, which also shows it more detail than the "
                        "whole picture does.",
            search_aliases=["select subject", "point at subject", "click to segment", "crop and segment",
                            "coarse mask"],
            inputs=[
                schema.model_input(),
                schema.image_input(),
                io.Combo.Input(
                    "pick", options=["box", "point", "mask"], default="box",
                    tooltip="box: what lies mostly in the box given by bboxes, or by x, y, width and height. "
                            "point: the piece that lies under the point x, y, or under each of points. mask: "
                            "what the coarse mask marks. Box and points can be drawn on the picture below."),
                io.Int.Input(
                    "x", default=0, min=0, max=16384, step=1,
                    tooltip="Left side of the box, or the point, in pixels from the picture's left."),
                io.Int.Input(
                    "y", default=0, min=0, max=16384, step=1,
                    tooltip="Upper side of the box, or the point, in pixels from the picture's top."),
                io.Int.Input(
                    "width", default=0, min=0, max=16384, step=1,
                    tooltip="Width of the box, in pixels. 0: to the picture's right side."),
                io.Int.Input(
                    "height", default=0, min=0, max=16384, step=1,
                    tooltip="Height of the box, in pixels. 0: to the picture's lower side."),
                io.Float.Input(
                    "context", default=25.0, min=0.0, max=200.0, step=1.0,
                    tooltip="How much the model sees around the subject's box, as a percentage of the box's "
                            "longer side, on every side. For mask also: the subject may go beyond the coarse "
                            "mask by half of it."),
                io.Combo.Input(
                    "boxes", options=["union", "batch"], default="union",
                    tooltip="For several boxes. union: one mask for each picture, with the subjects of all "
                            "its boxes. batch: one mask for each box."),
                schema.size_input("the crop"),
                schema.mask_input(
                    "For mask: a coarse mask of the subject, painted or from another node: 1 = subject. One "
                    "for all pictures, or one each. A mask of another size is resized to the "
                    "picture.", optional=True),
                schema.make(
                    schema.BoundingBox.Input, "bboxes", optional=True, force_input=True,
                    tooltip="For box: boxes from ComfyUI's detection nodes or Inspect Matte, instead of the "
                            "numbers. One box or list of boxes for all pictures, or a list for each."),
                io.String.Input(
                    "points", default="", optional=True,
                    tooltip="For point: pixels on the subjects, a JSON list of x and y, as a click on the picture "
                            "writes it and as KJNodes' point editor and SAM 3 nodes exchange it. Empty: the point "
                            "x, y."),
                io.String.Input(
                    "negative_points", default="", optional=True,
                    tooltip="For point: pixels on what is not wanted, in the same form; what lies under them "
                            "is taken away."),
            ],
            outputs=[
                schema.mask_output("matte", "The subject's mask, 0 to 1, soft edges: 1 = subject. Has the "
                                            "picture's size."),
                schema.cutout_output("The picture with four channels (RGBA): its own colours, and the mask "
                                     "as opacity (1 = visible)."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, model, image, pick: str, x: int, y: int, width: int, height: int, context: float,
                boxes: str, size: int, mask=None, bboxes=None, points: str = "", negative_points: str = ""
                ) -> io.NodeOutput:
        images = convert.frames(image)
        picture = tuple(images.shape[1:3])
        context, note = context / 100, ""
        if pick == "mask":
            if mask is None:
                raise ValueError("Connect a coarse mask, or pick by box or point: pick is mask.")
            mask = convert.masks(mask)
            note = messages.resized_text(tuple(mask.shape[1:]), picture)
            looks = by_mask(mask, convert.common_batch(len(mask), len(images)), picture, context)
        elif pick == "point":
            wanted, unwanted = points_of(points) or [(x, y)], points_of(negative_points)
            looks = [[by_points(wanted, unwanted, context)] for _ in images]
        else:
            given = box_of(x, y, width, height, picture)
            each = [[given]] * len(images) if bboxes is None else boxes_per_frame(bboxes, len(images))
            looks = [[by_box(box, context) for box in listed] for listed in each]
        jobs = [(i, [look]) for i, listed in enumerate(looks) for look in listed]
        if boxes == "union":
            jobs = list(enumerate(looks))

        seen, found = (), ()
        result = memory.empty_result(len(jobs), *picture)
        cutout = memory.empty_result(len(jobs), *picture, 4)
        progress = Progress(len(jobs))
        ask = alpha_of(model, size, progress)
        clean, empty = convert.Cleaner("the image"), []
        for job, (i, listed) in enumerate(jobs):
            frame = clean(convert.frame(images, i))
            alpha = frame.new_zeros(frame.shape[:3])
            for look in listed:
                alpha = alpha.maximum(look(ask, frame))
            if alpha.max() < messages.PRESENT:
                empty.append(job)
            result[job:job + 1] = alpha
            cutout[job:job + 1] = convert.cutout(frame, result[job:job + 1])
            if not job:
                seen, found = preview.picture(frame), preview.picture(cutout[:1])
            progress.next_picture()
        text = "; ".join(filter(None, [nothing_there(empty, len(jobs), pick), note]))
        usual = f"The subject covers {result.float().mean() if len(jobs) else 0:.1%} of the picture"
        views = {"biref_seen": seen, "biref_found": found}
        return io.NodeOutput(result, cutout, ui=messages.remark(text, usual) | views)


def by_points(wanted: list[tuple[int, int]], unwanted: list[tuple[int, int]], context: float) -> Look:
    """The pieces under the wanted points together, less those under the others."""

    def at(ask: subject.AlphaOf, frame: Tensor) -> Tensor:
        alpha = frame.new_zeros(frame.shape[:3])
        for x, y in wanted:
            alpha = alpha.maximum(subject.at_point(ask, frame, x, y, context))
        for x, y in unwanted:
            alpha = alpha.minimum(1 - subject.at_point(ask, frame, x, y, context))
        return alpha

    return at


def by_box(box: subject.Box, context: float) -> Look:
    return lambda ask, frame: subject.in_box(ask, frame, box, context)


def by_mask(mask: Tensor, count: int, picture: tuple[int, int], context: float) -> list[list[Look]]:
    clean = convert.Cleaner("the mask")

    def look(i: int) -> Look:
        def at(ask: subject.AlphaOf, frame: Tensor) -> Tensor:
            coarse = masks.resize(clean(convert.frame(mask, i)).to(frame.device), picture)
            return subject.under_mask(ask, frame, coarse, context)
        return at

    return [[look(i)] for i in range(count)]


def nothing_there(empty: list[int], total: int, pick: str) -> str:
    """A sentence about the masks that came out empty, by index; "" if there are none."""
    if not empty:
        return ""
    where = {"box": "in the box", "point": "under the point", "mask": "under the coarse mask"}[pick]
    advice = {"box": "draw it closer, or raise context",
              "point": "move the point to the middle of the subject, or pick by box",
              "mask": "paint over the whole subject, or raise context"}[pick]
    which = "" if total == 1 else f" {convert.in_some(empty, total, 'masks')}"
    return f"no subject found {where}{which}: the mask is empty. Try to {advice}, or try another checkpoint"
