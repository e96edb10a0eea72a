"""Inpaint Paste (BiRefNet): pastes repainted crops into their pictures, by birefnet.composite.inpaint."""

from __future__ import annotations

from comfy_api.latest import io

from ..birefnet.composite import inpaint
from .host import convert, memory, messages, progress, schema, values
from .host.crop import Crop, CropSocket


class BiRefInpaintPaste(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefInpaintPaste",
            display_name="Inpaint Paste (BiRefNet)",
            category=schema.CATEGORY,
            description="Puts repainted crops back into their pictures. Only the repainted region changes; "
                        "every other pixel is unchanged.",
            search_aliases=["inpaint stitch", "uncrop", "crop and stitch"],
            inputs=[
                CropSocket.Input("crop", tooltip="From Inpaint Crop, or transform of Frame Subject: where "
                                         "the crops came from."),
                schema.image_input("The repainted crops, from VAE Decode. Crops of another size are resized "
                                   "back; one crop takes many results, as variants."),
            ],
            outputs=[
                io.Image.Output("pasted", display_name="image",
                                tooltip="The whole pictures, at their own size; what was transparent stays "
                                        "so."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, crop: Crop, image) -> io.NodeOutput:
        if not isinstance(crop, Crop):
            raise ValueError("Connect the output crop of Inpaint Crop, or transform of Frame Subject: got "
                             f"{type(crop).__name__}")
        painted = convert.frames(image)
        count = convert.common_batch(len(crop.windows), len(painted), ("crops", "repainted pictures"))
        pictures = crop.images
        if pictures.shape[-1] < 3:
            pictures = pictures.expand(*pictures.shape[:3], 3)
        result = memory.empty_result(count, *pictures.shape[1:])
        clean_picture = convert.Cleaner("the picture")
        clean_painted = convert.Cleaner("the repainted picture")
        for i in progress.each(range(count)):
            new = clean_painted(convert.frame(painted, i))[..., :3]
            window = crop.windows[0 if len(crop.windows) == 1 else i]
            result[i:i + 1] = inpaint.paste_window(clean_picture(convert.frame(pictures, i)),
                                                   convert.frame(crop.regions, i), window, new)
        return io.NodeOutput(result, ui=messages.status_ui("", ""))
