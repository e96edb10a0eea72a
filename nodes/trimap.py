"""Trimap (BiRefNet): divides masks into subject, background and an unknown band, by birefnet.masks."""

from __future__ import annotations

from comfy_api.latest import io

from ..birefnet import masks
from .host import convert, memory, messages, progress, schema, values

PIXELS, PER_CENT = "pixels", "per cent"


class BiRefTrimap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefTrimap",
            display_name="Trimap (BiRefNet)",
            category=schema.CATEGORY,
            description="Divides a mask into sure subject (1), sure background (0) and an unknown band "
                        "around its edge (0.5), as matting nodes want it, with exact widths.",
            search_aliases=["trimap", "unknown region", "edge band", "vitmatte"],
            inputs=[
                schema.mask_input("The masks, 0 to 1, soft or hard: 1 = subject."),
                io.Float.Input(
                    "inward", default=10.0, min=0.0, max=1024.0, step=0.5,
                    tooltip="How far the unknown band reaches from the edge into the subject; see unit."),
                io.Float.Input(
                    "outward", default=10.0, min=0.0, max=1024.0, step=0.5,
                    tooltip="How far the unknown band reaches from the edge into the background; see unit. "
                            "Wide enough to hold the hair that the mask has missed."),
                io.Combo.Input(
                    "unit", options=[PIXELS, PER_CENT], default=PIXELS,
                    tooltip="The unit of inward and outward: pixels, or a percentage of the mask's longer "
                            "side, which suits pictures of every size."),
                io.Float.Input(
                    "sure_background", default=0.05, min=0.0, max=1.0, step=0.01,
                    tooltip="Mask values up to this, 0 to 1, are sure background; must be below "
                            "sure_subject."),
                io.Float.Input(
                    "sure_subject", default=0.95, min=0.0, max=1.0, step=0.01,
                    tooltip="Mask values from this on, 0 to 1, are sure subject. What lies between the two "
                            "is unknown, however wide it is."),
            ],
            outputs=[
                io.Mask.Output("trimap", display_name="trimap",
                               tooltip="1 = sure subject, 0 = sure background, 0.5 = unknown."),
                io.Mask.Output("unknown", display_name="unknown",
                               tooltip="The unknown band alone: 1 = unknown, 0 = known."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, mask, inward: float, outward: float, unit: str, sure_background: float,
                sure_subject: float) -> io.NodeOutput:
        mask = convert.masks(mask)
        scale = max(mask.shape[1:]) / 100 if unit == PER_CENT else 1
        inward, outward = inward * scale, outward * scale
        trimap, unknown = memory.empty_result(*mask.shape), memory.empty_result(*mask.shape)
        clean = convert.Cleaner("the mask")
        for i in progress.each(range(len(mask))):
            trimap[i:i + 1] = masks.trimap(clean(convert.frame(mask, i)), inward, outward, sure_background,
                                           sure_subject)
            unknown[i] = trimap[i] == masks.UNKNOWN
        text = f"Unknown band: {inward:.4g} pixels inward, {outward:.4g} outward"
        return io.NodeOutput(trimap, unknown, ui=messages.status_ui("", text))
