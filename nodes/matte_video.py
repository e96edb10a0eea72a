"""Matte Video (BiRefNet): mattes a video of any length and saves the result as a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import comfy.utils
from comfy_api.input_impl import VideoFromFile
from comfy_api.latest import io
from torch import Tensor

from .. import weights
from ..birefnet import composite
from ..birefnet import video as videos
from ..birefnet.imaging.resize import over_grey
from ..birefnet.matting import foreground
from ..birefnet.matting.temporal import Smoother
from .host import folders, messages, preview, schema, values
from .host.clip import PREVIEWED, backdrop, clip_of, preview_ui, workflow_of
from .host.follow import follow, prompts_of
from .host.model import matte_stream

OPAQUE = "for a transparent video, choose transparent webm or transparent mov as output"
FRAME_SIDE = 512  # pixels of the frame that is shown while the node runs

# The widget's choices → the kind of file, as `videos.writing` takes it.
OUTPUTS = {
    "over a colour": "h264",
    "over a background": "h264",
    "transparent webm": "vp9",
    "transparent mov": "prores",
    "mask": "h264",
    "png sequence": "png",
}
CODECS = ("h264", "h265", "av1")  # for an MP4


class BiRefVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefVideo",
            display_name="Matte Video (BiRefNet)",
            category=schema.CATEGORY,
            description="Cuts the subject out of a video of any length and saves the result to the output "
                        "folder: over a colour or another background, with transparency, or its mask. Sound, "
                        "frame rate and colours stay as they are (HDR only in a transparent mov). Works "
                        "frame by frame: memory does not grow with the length.",
            search_aliases=["green screen", "chroma key", "video background", "rotoscope",
                            "prores 4444", "webm alpha", "save video"],
            inputs=[
                schema.model_input(),
                io.Video.Input("video",
                               tooltip="The video, from Load Video, Create Video or any other node."),
                io.Combo.Input(
                    "output", options=list(OUTPUTS), default="over a colour",
                    tooltip="over a colour, over a background, mask (white subject on black): an MP4 in the "
                            "codec chosen below. transparent webm: VP9 with alpha, for the web. transparent "
                            "mov: ProRes 4444 with alpha, large, for editing programs. png sequence: a "
                            "folder of RGBA pictures, without sound."),
                schema.colour_input(
                    "Colour behind the subject as in CSS: a word (green, white), #00b140 (the green of green "
                    "screens), rgb(0 177 64). Also fills what the background leaves empty or transparent. "
                    "Not used by transparent outputs and masks.", default="#00b140"),
                io.Combo.Input(
                    "fit", options=list(composite.FITS), default="fill",
                    tooltip="How a background meets a video of another size. fill: covers it, cropped "
                            "evenly. fit: all of it is seen, colour beside it. stretch: distorted. tile: "
                            "repeated at its own size."),
                io.Combo.Input(
                    "quality", options=list(videos.QUALITIES), default="high",
                    tooltip="high: no loss to be seen. medium: about half the size. small: about a quarter. "
                            "In a transparent mov only small differs, by alpha with 8 bits instead of 16. "
                            "PNG pictures lose nothing in any case."),
                io.Boolean.Input(
                    "clean_edges", default=True,
                    tooltip="Gives soft edges the subject's own colours, so that no rim of the old "
                            "background is seen. Takes a little more time. Not used by masks."),
                io.Float.Input(
                    "smoothing", default=0.0, min=0.0, max=1.0, step=0.05,
                    tooltip="Calms flickering edges: the share that each mask takes of the one before, "
                            "which is moved along with the picture. 0: each frame by itself. 0.5 to 0.8 "
                            "calms; begins anew at every cut."),
                schema.size_input("the frames", "Rounded to a multiple of 32; the result always has the "
                                                "video's own size. "),
                schema.frames_per_pass_input("frames", " Not used when a subject is followed (points, bboxes "
                                                       "or mask)."),
                io.String.Input(
                    "filename_prefix", default="video/BiRefNet",
                    tooltip="Name of the file below ComfyUI's output folder; a number and the suffix are "
                            "added. May contain %year%-%month%-%day% and the like."),
                io.Image.Input(
                    "background_image", optional=True,
                    tooltip="For over a background: a picture, or several that play at the video's frame "
                            "rate, from the start again when they are over."),
                io.Video.Input(
                    "background_video", optional=True,
                    tooltip="For over a background: a video that plays behind the subject at its own speed, "
                            "from the start again when it is over, without its sound. Used instead of "
                            "background_image."),
                io.Combo.Input(
                    "codec", options=list(CODECS), default=CODECS[0], optional=True,
                    tooltip="Of an MP4. h264: plays everywhere, 8 bits. h265, av1: smaller files, 10 bits "
                            "where the video has them; not every program plays them."),
                io.String.Input(
                    "points", default="", optional=True,
                    tooltip="One subject of several: pixels on it in the frame whose number is below, a JSON "
                            "list of x and y as KJNodes' point editor and SAM 3 nodes write it. It is "
                            "followed forwards and backwards from there; if it touches another subject there "
                            "and only points are given, from a nearby frame in which they are apart. Nothing "
                            "here, in bboxes and in mask: everything that stands out."),
                io.String.Input(
                    "negative_points", default="", optional=True,
                    tooltip="Pixels on what is not meant in that frame, in the same form. They need points, "
                            "bboxes or mask beside them."),
                io.Int.Input(
                    "frame", default=0, min=0, max=1 << 24, step=1, optional=True,
                    tooltip="For points, bboxes and mask: the frame in which the subject is chosen, counted "
                            "from 0."),
                schema.make(
                    schema.BoundingBox.Input, "bboxes", optional=True, force_input=True,
                    tooltip="A box around the subject in that frame, from ComfyUI's detection nodes. Several "
                            "boxes: their subjects together, each with the points and the part of the mask "
                            "inside its box."),
                schema.mask_input(
                    "The subject in that frame: a coarse mask, or a scribble on it, distinguished as in Pick "
                    "Subject. Of a batch only the first is used.", optional=True),
            ],
            outputs=[
                io.Video.Output(
                    "matted", display_name="video",
                    tooltip="The saved video, for further nodes. For a png sequence the unchanged "
                            "input video."),
                io.String.Output("path", display_name="path",
                                 tooltip="Where the result was saved: the file, or the folder of a png "
                                         "sequence."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, output=None, colour=None) -> bool | str:
        if not isinstance(output, str) or output not in OUTPUTS:
            return output is None or f"Set output to {' or '.join(OUTPUTS)}: it is {weights.quoted(output)}."
        return not output.startswith("over") or values.fault_of_colour(colour, OPAQUE)

    @classmethod
    @values.checked
    def execute(cls, model, video, output: str, colour: str, fit: str, quality: str, clean_edges: bool,
                smoothing: float, size: int, frames_per_pass: int, filename_prefix: str,
                background_image=None, background_video=None, codec: str = CODECS[0], points: str = "",
                negative_points: str = "", frame: int = 0, bboxes=None, mask=None) -> io.NodeOutput:
        kind = codec if OUTPUTS[output] == CODECS[0] else OUTPUTS[output]
        empty, count = [], 0
        with clip_of(video) as source:
            clip, changes = videos.adapt(source, kind)
            behind = None
            if output == "over a background":
                behind = backdrop(background_image, background_video, clip)
            prompts = prompts_of(points, negative_points, bboxes, mask, frame)
            following = None
            if prompts is None:
                mattes = partial(matte_stream, model, size=size, per_pass=frames_per_pass)
            else:
                open_again = partial(videos.open_for_network, partial(clip_of, video), kind)
                mattes = following = follow(model, size, open_again, prompts, frame)
            matting = videos.matting(
                clip, mattes, renderer_of(output, colour, fit, behind),
                to_network=videos.network_conversion(clip),
                smooth=Smoother(smoothing) if smoothing else None,
                colours=foreground.estimate if clean_edges and output != "mask" else None)
            suffix = "" if kind == "png" else videos.FORMATS[kind].suffix
            path, place = folders.new_file(filename_prefix, "video/BiRefNet", suffix, clip.width, clip.height)
            watcher = Watcher(clip.count)
            with videos.writing(path, clip, kind, quality=quality, notes=workflow_of(cls.hidden)) as writer:
                for moment, picture, alpha in matting:
                    writer.write(moment, picture)
                    if alpha.amax() < messages.PRESENT:
                        empty.append(count)
                    count += 1
                    watcher.show(count, picture)
        text = f"{path.name} saved: {count} frames, {count / max(watcher.seconds(), 1e-3):.1f} frames/s"
        missing = messages.nothing_found(empty, count) if following is None else messages.some_frames(
            "the subject was not in view", following.lost, count, "frames")
        said = messages.status_ui("; ".join(filter(None, [missing, *changes])), text)
        if path.suffix and path.suffix not in PREVIEWED:
            text = f"saved as {path.name}; browsers cannot play ProRes"
            said = messages.text_ui("; ".join((text, *said["text"])), warning=bool(said["text"]))
        result = video if kind == "png" else VideoFromFile(str(path))
        return io.NodeOutput(result, str(path), ui=preview_ui(path, place) | said)


class Watcher:
    """Shows progress on the page: the bar, the current frame, and frames per second."""

    INTERVAL = 0.5  # seconds between frames that are shown

    def __init__(self, frames: int) -> None:
        self.frames, self.bar = frames, comfy.utils.ProgressBar(frames)
        self.start = time.monotonic()
        self.shown_at = self.start - self.INTERVAL

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def show(self, count: int, frame: Tensor) -> None:
        """Report a written frame. count: its number, from 1; frame: [H,W,3 or 4] in 0..1."""
        total = max(self.frames, count)
        if time.monotonic() - self.shown_at >= self.INTERVAL and messages.listener() is not None:
            self.shown_at = time.monotonic()
            text = f"Frame {count} of {total}, {count / max(self.seconds(), 1e-3):.1f} frames/s"
            messages.say(text, preview.inline(over_grey(frame[None]), FRAME_SIDE))
        self.bar.update_absolute(count, total)


def renderer_of(output: str, colour: str, fit: str, open_background: Callable[[], videos.Clip] | None
                ) -> videos.rendering.Renderer:
    """Return the function that makes a frame of the result from a frame and its alpha."""
    if output == "mask":
        return videos.rendering.mask
    if not output.startswith("over"):
        return videos.rendering.cutout
    rgb = composite.opaque_colour(colour, OPAQUE)
    return videos.rendering.Over(rgb, open_background, fit)
