"""Matte Video (BiRefNet): a video in, a video file out, whatever its length."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import comfy.utils
from comfy_api.input_impl import VideoFromFile
from comfy_api.latest import io

from ..birefnet import composite
from ..birefnet import video as videos
from ..birefnet.matting import foreground
from ..birefnet.matting.temporal import Smoother
from .host import messages, schema, values
from .host.clip import backdrop, clip_of, new_file, shown, workflow_of
from .host.stream import matte_stream
from .segment import PRESENT, nothing_found

# What is made, and as which kind of file.
OUTPUTS = {
    "over a colour": "h264",
    "over a background": "h264",
    "transparent webm": "vp9",
    "transparent mov": "prores",
    "mask": "h264",
    "png sequence": "png",
}


class BiRefVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefVideo",
            display_name="Matte Video (BiRefNet)",
            category=schema.CATEGORY,
            description="Cuts the subject out of a video of any length and saves the result to the output folder: over "
                        "a colour or another background, with transparency, or its mask. Sound, frame rate and colours "
                        "stay as they are. Works frame by frame: memory does not grow with the length.",
            search_aliases=[*schema.ALIASES, "green screen", "chroma key", "video background", "rotoscope",
                            "prores 4444", "webm alpha", "save video"],
            inputs=[
                schema.BackgroundRemoval.Input(
                    "model", tooltip="A network from Load BiRefNet, or from ComfyUI's Load Background Removal Model."),
                io.Video.Input("video", tooltip="The video, from Load Video, Create Video or any other node."),
                io.Combo.Input(
                    "output", options=list(OUTPUTS), default="over a colour",
                    tooltip="over a colour, over a background: an MP4 (H.264) that plays everywhere. transparent webm: "
                            "VP9 with alpha, for the web. transparent mov: ProRes 4444 with alpha, large, for editing "
                            "programs. mask: white subject on black, MP4. png sequence: a folder of RGBA pictures, "
                            "without sound."),
                io.String.Input(
                    "colour", default="#00b140",
                    tooltip="Colour behind the subject as in CSS: a word (green, white), #00b140 (the green of green "
                            "screens), rgb(0 177 64). Also what shows beside and through a background. Not used by "
                            "transparent outputs and masks."),
                io.Combo.Input(
                    "fit", options=list(composite.FITS), default="fill",
                    tooltip="How a background meets a video of another size. fill: covers it, cropped evenly. fit: all "
                            "of it is seen, colour beside it. stretch: distorted. tile: repeated at its own size."),
                io.Combo.Input(
                    "quality", options=list(videos.QUALITIES), default="high",
                    tooltip="high: no loss to be seen. medium: about half the size. small: about a quarter. PNG "
                            "pictures lose nothing in any case."),
                io.Boolean.Input(
                    "clean_edges", default=True,
                    tooltip="Gives soft edges the subject's own colours, so that no rim of the old background is seen. "
                            "Takes a little more time. Not used by masks."),
                io.Float.Input(
                    "smoothing", default=0.0, min=0.0, max=1.0, step=0.05,
                    tooltip="Calms flickering edges: how much each mask leans on the one before, which is moved along "
                            "with the picture. 0: each frame by itself. 0.5 to 0.8 calms; begins anew at every cut."),
                io.Int.Input(
                    "size", default=0, min=0, max=4096, step=32,
                    tooltip="Longer side, in pixels, at which the network sees the frames (rounded to a multiple of "
                            "32); the result always has the video's own size. 0: the size the checkpoint was made for, "
                            "which is nearly always best."),
                io.Int.Input(
                    "frames_per_pass", default=0, min=0, max=1024, step=1,
                    tooltip="How many frames are on the GPU at a time. 0: as many as memory allows. The result does "
                            "not depend on it."),
                io.String.Input(
                    "filename_prefix", default="video/BiRefNet",
                    tooltip="Name of the file below ComfyUI's output folder; a number and the suffix are added. May "
                            "contain %year%-%month%-%day% and the like."),
                io.Image.Input(
                    "background_image", optional=True,
                    tooltip="For over a background: a picture, or several that play at the video's frame rate, from "
                            "the start again when they are over."),
                io.Video.Input(
                    "background_video", optional=True,
                    tooltip="For over a background: a video that plays behind the subject at its own speed, from the "
                            "start again when it is over, without its sound. Used instead of background_image."),
            ],
            outputs=[
                io.Video.Output(
                    "matted", display_name="video",
                    tooltip="The saved video, for further nodes. For a png sequence the input video as it came."),
                io.String.Output("path", display_name="path",
                                 tooltip="Where the result was saved: the file, or the folder of a png sequence."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    @values.checked
    def execute(cls, model, video, output: str, colour: str, fit: str, quality: str, clean_edges: bool,
                smoothing: float, size: int, frames_per_pass: int, filename_prefix: str, background_image=None,
                background_video=None) -> io.NodeOutput:
        kind = OUTPUTS[output]
        empty, count = [], 0
        with clip_of(video) as clip:
            behind = backdrop(background_image, background_video, clip) if output == "over a background" else None
            matting = videos.matting(
                clip, partial(matte_stream, model, size=size, per_pass=frames_per_pass),
                look_of(output, colour, fit, behind),
                smooth=Smoother(smoothing) if smoothing else None,
                colours=foreground.estimate if clean_edges and output != "mask" else None)
            path, place = new_file(filename_prefix, clip, "" if kind == "png" else videos.FORMATS[kind].suffix)
            bar = comfy.utils.ProgressBar(clip.count)
            with videos.writing(path, clip, kind, quality=quality, notes=workflow_of(cls.hidden)) as writer:
                for time, picture, alpha in matting:
                    writer.write(time, picture)
                    if alpha.amax() < PRESENT:
                        empty.append(count)
                    count += 1
                    bar.update_absolute(count, max(clip.count, count))
        text = nothing_found(empty, count)
        messages.remark(text, f"{count} frames: {path.name}")
        result = video if kind == "png" else VideoFromFile(str(path))
        preview = shown(path, place)
        return io.NodeOutput(result, str(path), ui=preview | {"text": (*preview.get("text", ()), text)} if text
                             else preview)


def look_of(output: str, colour: str, fit: str, open_background: Callable[[], videos.Clip] | None) -> videos.looks.Look:
    """What each frame becomes."""
    if output == "mask":
        return videos.looks.mask
    if not output.startswith("over"):
        return videos.looks.cutout
    rgb = composite.opaque_colour(colour, "for a transparent video choose transparent webm or transparent mov as output")
    return videos.looks.Over(rgb, open_background, fit)
