"""Pick Subject (BiRefNet): mattes one subject of several, by birefnet.matting.subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial

from comfy_api.latest import io
from torch import Tensor

from ..birefnet import masks
from ..birefnet import video as videos
from ..birefnet.matting import subject
from .host import convert, memory, messages, preview, schema, values
from .host.alpha import Progress, alpha_of
from .host.boxes import box_of, boxes_per_frame
from .host.follow import read_mask
from .host.points import points_of
from .host.selector import selector

PICKS = ("box", "point", "mask", "mixture")
FOLLOWED_RATE = Fraction(25)  # frames/s of a batch of pictures; the result does not depend on it
MASK_KINDS = ("automatic", "coarse mask", "scribble")

Point = tuple[int, int]
# From a picture [1,H,W,C] to the alpha [1,H,W] of one selection; a picture's mask is the union of its
# selections.
Selection = Callable[[subject.AlphaOf, Tensor], Tensor]


class BiRefSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefSubject",
            display_name="Pick Subject (BiRefNet)",
            category=schema.CATEGORY,
            description="Takes one subject of several: the one in a box, under a point or a scribble, or "
                        "under a coarse mask, whole, and without what touches it. The model looks at a crop "
                        "around it, which also shows it more detail than the whole picture does.",
            search_aliases=["select subject", "point at subject", "click to segment", "crop and segment",
                            "coarse mask", "scribble", "SAM"],
            inputs=[
                schema.model_input(),
                schema.image_input(),
                io.Combo.Input(
                    "pick", options=list(PICKS), default="box",
                    tooltip="box: the subject of the box given by bboxes, or by x, y, width and height. "
                            "point: the subject under the point x, y, or under each of points. mask: what "
                            "the mask marks or touches. mixture: one subject, by all of box, points and mask "
                            "that are given; several bboxes are several subjects, each with the points and "
                            "the part of the mask inside it. For mixture, x, y, width and height are a box "
                            "only if width or height is set or nothing else is given. Box and points can be "
                            "drawn on the picture below."),
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
                            "longer side, on every side. Less than 15 % counts as 15 %. With follow_from, "
                            "only for the picture in which the subject is chosen."),
                io.Combo.Input(
                    "boxes", options=["union", "batch"], default="union",
                    tooltip="For several boxes. union: one mask for each picture, with the subjects of all "
                            "its boxes. batch: one mask for each box. With follow_from always union."),
                schema.size_input("the crop"),
                schema.mask_input(
                    "For mask and mixture: a coarse mask of the subject, painted or from another node, or a "
                    "scribble on it: 1 = subject. One for all pictures, or one each. A mask of another size "
                    "is resized to the picture.", optional=True),
                schema.make(
                    schema.BoundingBox.Input, "bboxes", optional=True, force_input=True,
                    tooltip="For box and mixture: boxes from ComfyUI's detection nodes or Inspect Matte, "
                            "instead of the numbers. One box or list of boxes for all pictures, or a list "
                            "for each."),
                io.String.Input(
                    "points", default="", optional=True,
                    tooltip="For point and mixture: pixels on the subjects, a JSON list of x and y, as a "
                            "click on the picture writes it and as KJNodes' point editor and SAM 3 nodes "
                            "exchange it. Empty: for point, the point x, y; for mixture, none."),
                io.String.Input(
                    "negative_points", default="", optional=True,
                    tooltip="Pixels on what is not meant, in the same form, for every way to pick. What lies "
                            "under them is left out where the model can tell it apart from the wanted "
                            "subject."),
                io.Combo.Input(
                    "mask_is", options=list(MASK_KINDS), default="automatic", optional=True,
                    tooltip="What the mask means. coarse mask: it is the subject, roughly. scribble: it "
                            "touches the subject. automatic: a scribble where it is nowhere wider than 6 % "
                            "of the picture's longer side, and 25 % of the shorter."),
                io.Int.Input(
                    "follow_from", default=-1, min=-1, max=1 << 24, step=1, optional=True,
                    tooltip="For the consecutive frames of one video: the picture, from 0, in which the "
                            "subject is chosen; it is followed from there, forwards and backwards. Boxes and "
                            "masks of other pictures are not used. -1: it is chosen in each picture."),
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
                boxes: str, size: int, mask=None, bboxes=None, points: str = "", negative_points: str = "",
                mask_is: str = "automatic", follow_from: int = -1) -> io.NodeOutput:
        images = convert.frames(image)
        picture = tuple(images.shape[1:3])
        if pick == "mask" and mask is None:
            raise ValueError("Connect a coarse mask or a scribble, or pick by box or point: pick is mask.")
        drawn, note = [None] * len(images), ""
        if mask is not None and pick in ("mask", "mixture"):
            mask = convert.masks(mask)
            note = messages.resized_text(tuple(mask.shape[1:]), picture)
            drawn = mask_readers(mask, convert.common_batch(len(mask), len(images)), picture, mask_is)
        wanted, unwanted = points_of(points), points_of(negative_points)
        if pick == "point":
            wanted, listed = wanted or [(x, y)], None
            selections = [[by_points(wanted, unwanted, context / 100)]] * len(images)
        else:
            wanted = wanted if pick == "mixture" else []
            listed = listed_boxes(pick, bboxes, box_of(x, y, width, height, picture), len(drawn),
                                  sized=bool(width or height), beside=bool(wanted) or mask is not None)
            selections = [[by_prompt(boxes_here, number, wanted, unwanted, read, context / 100)
                           for number in range(len(boxes_here))] for boxes_here, read in zip(listed, drawn)]
        if follow_from >= 0:
            only_points = pick == "point" or mask is None and listed == [[None]] * len(drawn)
            return cls.follow(model, size, images, selections, follow_from, wanted if only_points else [],
                              note)
        jobs = list(enumerate(selections))
        if boxes == "batch":
            jobs = [(i, [selection]) for i, listed in jobs for selection in listed]
        clean, progress = convert.Cleaner("the image"), Progress(len(jobs))
        ask = alpha_of(model, size, progress)
        mattes = (unite(ask, clean(convert.frame(images, i)), listed) for i, listed in jobs)
        return collect(mattes, len(jobs), picture, progress,
                       lambda empty: [nothing_there(empty, len(jobs), pick), note])

    @classmethod
    def follow(cls, model, size: int, images: Tensor, selections: list, start: int, points: list, note: str
               ) -> io.NodeOutput:
        """Matte what the selections find in picture `start` in all pictures, see `follow_batch`."""
        count, progress = len(images), Progress(len(images))
        mattes = follow_batch(alpha_of(model, size, progress), images, selections, start, points)
        return collect(mattes, count, tuple(images.shape[1:3]), progress, lambda empty: [
            messages.some_frames("the subject was not in view", empty, count, "frames"), note])


def listed_boxes(pick: str, bboxes: object, numbers: subject.Box, count: int, *, sized: bool, beside: bool
                 ) -> list[list[subject.Box | None]]:
    """Return the boxes of each picture; None for a subject that is chosen without a box.

    Args:
        pick: one of PICKS, but not point.
        bboxes: the input, see `boxes_per_frame`, or None.
        numbers: the box of x, y, width and height.
        count: number of pictures.
        sized: whether the width or height is set.
        beside: whether points or a mask are given too. In a mixture they choose alone where no box is.
    """
    if pick == "mask":
        return [[None]] * count
    alone = [None] if pick == "mixture" and beside else []
    if bboxes is not None:
        return [boxes or alone for boxes in boxes_per_frame(bboxes, count)]
    return [alone if alone and not sized else [numbers]] * count


def collect(mattes: Iterable[tuple[Tensor, Tensor]], count: int, picture: tuple[int, int],
            progress: Progress, warnings: Callable[[list[int]], list[str]]) -> io.NodeOutput:
    """Return the node's outputs and what it shows.

    Args:
        mattes: pairs of a picture [1,H,W,C] and its alpha [1,H,W].
        count: number of pairs.
        picture: (H, W).
        progress: of the mattes.
        warnings: from the indices of empty mattes to texts.
    """
    seen, found, empty = (), (), []
    result = memory.empty_result(count, *picture)
    cutout = memory.empty_result(count, *picture, 4)
    for i, (frame, alpha) in enumerate(mattes):
        if alpha.max() < messages.PRESENT:
            empty.append(i)
        result[i:i + 1] = alpha
        cutout[i:i + 1] = convert.with_alpha(frame, result[i:i + 1])
        if not i:
            seen, found = preview.picture(frame), preview.picture(cutout[:1])
        progress.next_picture()
    text = "; ".join(filter(None, warnings(empty)))
    usual = f"The subject covers {result.float().mean() if count else 0:.1%} of the picture"
    views = {"biref_seen": seen, "biref_found": found}
    return io.NodeOutput(result, cutout, ui=messages.status_ui(text, usual) | views)


def unite(ask: subject.AlphaOf, frame: Tensor, selections: Sequence[Selection]) -> tuple[Tensor, Tensor]:
    """Return a picture [1,H,W,C], and the union of the selections' alpha in it, [1,H,W]."""
    alpha = frame.new_zeros(frame.shape[:3])
    for selection in selections:
        alpha = alpha.maximum(selection(ask, frame))
    return frame, alpha


def follow_batch(
    ask: subject.AlphaOf, images: Tensor, selections: Sequence[Sequence[Selection]], start: int,
    points: Sequence[Point],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (picture, alpha) as `unite` does for every picture, following what the selections find in one.

    Args:
        ask: the model, see `alpha_of`.
        images: consecutive frames [B,H,W,C].
        selections: of each picture; only those of `start` are used.
        start: index of the picture in which the subject is chosen.
        points: the pixels (x, y) of the prompt if it has nothing else: subjects that touch are then parted.
    """
    if not len(images):
        return
    if start >= len(images):
        raise ValueError(f"Set follow_from to 0 to {len(images) - 1}: there are {len(images)} pictures.")
    if len(selections) != len(images):
        raise ValueError(f"Connect one mask, or one for each picture, where follow_from is set: there are "
                         f"{len(selections)} masks and {len(images)} pictures.")
    clean = convert.Cleaner("the image")

    class CleanPictures(videos.TensorClip):
        def __iter__(self) -> Iterator[tuple[Fraction, Tensor]]:
            for time, picture in super().__iter__():
                yield time, clean(picture)

    following = videos.Following(
        lambda: CleanPictures(images, FOLLOWED_RATE),
        lambda frame: unite(ask, clean(frame), selections[start])[1],
        partial(subject.Follower, ask, selector()), start,
        find_parting=partial(subject.find_parting, ask, selector(), points) if points else None)
    yield from following(clean(convert.frame(images, i))[0] for i in range(len(images)))


def by_points(wanted: Sequence[Point], unwanted: Sequence[Point], context: float) -> Selection:
    """Return a selection that finds the subjects under points, see `subject.select_each`."""
    return lambda ask, frame: subject.select_each(ask, selector(), frame, wanted, unwanted, context)


def by_prompt(boxes: Sequence[subject.Box | None], number: int, wanted: Sequence[Point],
              unwanted: Sequence[Point], read: Callable[[Tensor], dict[str, Tensor]] | None, context: float
              ) -> Selection:
    """Return a selection that finds the subject of one box, by all of these.

    Args:
        boxes: of the picture; a single None without boxes.
        number: of the box, from 0.
        wanted, unwanted: positive and negative points.
        read: see `mask_readers`.
        context: see `subject.select`.
    """

    def at(ask: subject.AlphaOf, frame: Tensor) -> Tensor:
        prompts = subject.prompts_of_boxes([box for box in boxes if box is not None], wanted, unwanted,
                                           **(read(frame) if read else {}))
        return subject.select(ask, selector(), frame, prompts[number], context)

    return at


def mask_readers(mask: Tensor, count: int, picture: tuple[int, int], mask_is: str
                 ) -> list[Callable[[Tensor], dict[str, Tensor]]]:
    """Return, for each picture, a function from its frame to the field of a Prompt that its mask fills.

    Args:
        mask: [1 or B,h,w].
        count: number of pictures.
        picture: their size (H, W), to which masks are resized.
        mask_is: one of MASK_KINDS.
    """
    clean = convert.Cleaner("the mask")

    def read(i: int) -> Callable[[Tensor], dict[str, Tensor]]:
        def at(frame: Tensor) -> dict[str, Tensor]:
            drawn = masks.resize(clean(convert.frame(mask, i)).to(frame.device), picture)
            return read_mask(drawn, mask_is)
        return at

    return [read(i) for i in range(count)]


def nothing_there(empty: list[int], total: int, pick: str) -> str:
    """Return a message about the empty masks, by index; "" if there are none. pick: one of PICKS."""
    where = {"box": "in the box", "point": "under the point", "mask": "under the mask",
             "mixture": "where you point"}[pick]
    advice = {"box": "draw it closer, or raise context",
              "point": "move the point to the middle of the subject, or pick by box",
              "mask": "paint over the whole subject, or raise context",
              "mixture": "draw the box closer, or point at the middle of the subject"}[pick]
    return messages.some_frames(f"no subject found {where}", empty, total, "masks",
                                f": the mask is empty. Try to {advice}, or try another checkpoint")
