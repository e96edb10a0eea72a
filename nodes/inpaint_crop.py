"""Inpaint Crop (BiRefNet): crops a region for a diffusion model, by birefnet.composite.inpaint."""

from __future__ import annotations

import comfy.utils
import torch
from comfy_api.latest import io

from ..birefnet import masks
from ..birefnet.composite import inpaint
from ..birefnet.imaging.boxes import bounding_box
from ..birefnet.imaging.levels import HALF_LEVEL
from .host import convert, memory, messages, progress, schema, values
from .host.crop import Crop, CropSocket


class BiRefInpaintCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefInpaintCrop",
            display_name="Inpaint Crop (BiRefNet)",
            category=schema.CATEGORY,
            description="Cuts out what is to be repainted, the subject or its background, with some of its "
                        "surroundings, at a size that a diffusion model expects. Inpaint Paste puts the "
                        "result back.",
            search_aliases=["crop and stitch", "inpaint crop", "inpaint background"],
            inputs=[
                schema.image_input("The pictures to repaint in, one or many."),
                schema.mask_input(),
                io.Combo.Input(
                    "region", options=list(inpaint.REGIONS), default="subject",
                    tooltip="What is repainted: the subject, or all that is not subject."),
                io.Float.Input(
                    "grow", default=8.0, min=-256.0, max=256.0, step=0.5,
                    tooltip="Moves the repainted region's edge outwards by this many pixels of the picture; "
                            "below 0 inwards. For background, -1.5 × feather or less leaves the subject's "
                            "edge alone."),
                io.Float.Input(
                    "feather", default=8.0, min=0.0, max=256.0, step=0.5,
                    tooltip="Old and new are blended over about this many pixels on either side of that "
                            "edge, so that no seam shows."),
                io.Float.Input(
                    "context", default=25.0, min=0.0, max=400.0, step=1.0,
                    tooltip="How much around the region the model sees, as a percentage of the region's "
                            "longer side."),
                io.Float.Input(
                    "megapixels", default=1.0, min=0.0, max=16.0, step=0.05,
                    tooltip="Size of the crop in megapixels of 1024×1024: about 0.25 for SD 1.5, 1 for SDXL "
                            "and Flux. 0: the picture's own pixels, nothing is resized."),
                io.Combo.Input(
                    "multiple", options=["8", "16", "32", "64"], default="8",
                    tooltip="Height and width of the crop are multiples of this. 8 suits Stable Diffusion, "
                            "16 Flux; other models state theirs."),
                io.Float.Input(
                    "max_aspect", default=2.0, min=1.0, max=8.0, step=0.1,
                    tooltip="The crop's longer side is at most this many times its shorter one, if the "
                            "picture has room. 1: square."),
            ],
            outputs=[
                io.Image.Output("cropped", display_name="image",
                                tooltip="The crops, RGB, all of one size: for VAE Encode or VAE Encode (for "
                                        "Inpainting)."),
                schema.mask_output("repaint", "What to repaint in the crops, 0 to 1: 1 = repaint. For VAE "
                                              "Encode (for Inpainting) or Set Latent Noise Mask."),
                CropSocket.Output("crop", display_name="crop",
                                  tooltip="Where the crops came from, with the pictures: for Inpaint Paste."),
            ],
        )

    @classmethod
    @values.checked
    def execute(cls, image, mask, region: str, grow: float, feather: float, context: float, megapixels: float,
                multiple: str, max_aspect: float) -> io.NodeOutput:
        images, mask = convert.frames(image), convert.masks(mask)
        count = convert.common_batch(len(mask), len(images))
        picture = tuple(images.shape[1:3])
        clean_mask, clean_image = convert.Cleaner("the mask"), convert.Cleaner("the image")
        bar = comfy.utils.ProgressBar(2 * count)

        regions = torch.empty(count, *picture)
        for i in progress.each(range(count), bar):
            single = masks.resize(clean_mask(convert.frame(mask, i)), picture)
            regions[i:i + 1] = inpaint.select_region(single, region, grow, feather)
        boxes = [bounding_box(single, HALF_LEVEL) for single in regions]
        if count and not any(boxes):
            raise ValueError("Check the mask, or choose the other region: there is nothing to repaint, the "
                             f"{region} covers no pixel of the mask.")
        windows, size = inpaint.plan_windows(boxes, picture, context=context / 100,
                                             area=megapixels * inpaint.MEGAPIXEL,
                                             multiple=int(multiple), most_aspect=max_aspect)

        cropped, repaint = memory.empty_result(count, *size, 3), memory.empty_result(count, *size)
        for i in progress.each(range(count), bar):
            colours = clean_image(convert.frame(images, i))[..., :3]  # grey is broadcast
            cropped[i:i + 1] = inpaint.cut_window(colours, windows[i], size)
            repaint[i:i + 1] = inpaint.cut_window(regions[i:i + 1, ..., None], windows[i], size)[..., 0]
        resized = messages.resized_text(tuple(mask.shape[1:]), picture)
        empty = [i for i, box in enumerate(boxes) if box is None]
        text = "; ".join(filter(None, [resized, messages.some_frames("nothing to repaint", empty, count,
                                                                     rest=": they stay as they are")]))
        line = messages.status_ui(text, messages.done(count, size, "crop"))
        return io.NodeOutput(cropped, repaint, Crop(images, regions, windows), ui=line)
