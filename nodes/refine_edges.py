"""Refine Edges and Hair (BiRefNet): recomputes uncertain edges, by birefnet.matting.edges."""

from __future__ import annotations

from comfy_api.latest import io

from ..birefnet import masks
from ..birefnet.matting import edges
from .host import convert, memory, messages, preview, schema, values
from .host.alpha import Progress, alpha_of, side_of

PARTS = 4  # windows along the picture's longer side; none is smaller than the network's own size


class BiRefEdgeRefine(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefEdgeRefine",
            display_name="Refine Edges and Hair (BiRefNet)",
            category=schema.CATEGORY,
            description="Computes again, at the picture's own resolution, what a mask left uncertain: hair, "
                        "fur, thin parts, soft edges. What the mask was certain about stays exactly as it "
                        "is.",
            search_aliases=["hair", "fur", "closed form matting", "guided filter", "edge detail"],
            inputs=[
                schema.image_input(),
                schema.mask_input("Their first masks, 0 to 1 with soft edges, from Segment: 1 = subject. A "
                                  "mask of another size is resized to the picture. One for all pictures, or "
                                  "one each."),
                io.Combo.Input(
                    "method", options=list(edges.METHODS), default="closed form",
                    tooltip="network: the model looks again, at windows of the picture along the uncertain "
                            "edges (needs model). guided: fits the edge to the picture's colours; quick. "
                            "closed form: the same, more thoroughly; slower, finds thinner hair. network "
                            "first and then closed form is best."),
                io.Float.Input(
                    "low", default=0.05, min=0.0, max=1.0, step=0.01,
                    tooltip="Mask values up to this, 0 to 1, are certain background and are never changed. "
                            "Must be below high."),
                io.Float.Input(
                    "high", default=0.95, min=0.0, max=1.0, step=0.01,
                    tooltip="Mask values from this on, 0 to 1, are certain subject and are never changed."),
                io.Int.Input(
                    "window", default=0, min=0, max=8192, step=32,
                    tooltip="For network: side of the windows, in pixels of the picture. Smaller ones show "
                            "more detail, but the model sees less of what the subject is. 0: a quarter of "
                            "the picture's longer side, at least the model's own size."),
                schema.size_input("each window", "For network. "),
                io.Int.Input(
                    "radius", default=0, min=0, max=256, step=1,
                    tooltip="For guided and closed form: how far, in pixels, the mask's edge may be off or "
                            "blurred. 0: a 128th of the picture's longer side."),
                schema.model_input("For network: the model that made the mask, or another one, from Load "
                                   "BiRefNet or ComfyUI's Load Background Removal Model.", optional=True),
            ],
            outputs=[
                schema.mask_output("refined", "The masks with their uncertain parts worked out again, 0 to "
                                              "1: 1 = subject. As large as the pictures."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, image, mask, method: str, low: float, high: float, window: int, size: int, radius: int,
                model=None) -> io.NodeOutput:
        images, mask = convert.frames(image), convert.masks(mask)
        if method == "network" and model is None:
            raise ValueError("Connect model, or choose guided or closed form: the method network needs it.")
        count = convert.common_batch(len(mask), len(images))
        height, width = images.shape[1:3]
        if method == "network":
            window = window or max(side_of(model, size), -(-max(height, width) // PARTS))
        progress = Progress(count)
        ask = alpha_of(model, size, progress) if method == "network" else None

        result = memory.empty_result(count, height, width)
        clean_mask, clean_image = convert.Cleaner("the mask"), convert.Cleaner("the image")
        uncertain, before, after = 0.0, (), ()
        for i in range(count):
            picture = clean_image(convert.frame(images, i))
            first = masks.resize(clean_mask(convert.frame(mask, i)).to(picture.device), (height, width))
            uncertain += (edges.band(first, low, high) > 0).float().mean().item() / count
            result[i:i + 1] = convert.snap_to_opaque(edges.refine(
                first, picture, ask, method=method, low=low, high=high, window=window, radius=radius,
                progress=progress))
            if not i:
                before = preview.picture(convert.with_alpha(picture, first))
                after = preview.picture(convert.with_alpha(picture, result[:1].to(first)))
            progress.next_picture()
        resized = messages.resized_text(tuple(mask.shape[1:]), (height, width))
        text = nothing_uncertain(uncertain, count, low, high) or resized
        usual = f"{uncertain:.1%} of the picture was uncertain"
        views = {"biref_before": before, "biref_after": after}
        return io.NodeOutput(result, ui=messages.status_ui(text, usual) | views)


def nothing_uncertain(uncertain: float, count: int, low: float, high: float) -> str:
    """Return a message if no pixel was uncertain; "" otherwise, and for an empty batch."""
    if uncertain or not count:
        return ""
    return (f"nothing to refine: no mask value lies between {low:g} and {high:g}. Take the mask as Segment "
            "gives it, with soft edges, or soften a hard one first (feather in Refine Mask)")
