"""Converts VIDEO sockets to clips of birefnet.video, and shows saved ones on the page."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from comfy.cli_args import args
from comfy_api.input import VideoInput
from torch import Tensor

from ...birefnet import video as videos
from . import convert

PREVIEWED = (".mp4", ".webm")  # suffixes that browsers play


def clip_of(video: VideoInput) -> videos.Clip:
    """Open a VIDEO as a clip: from its file if it has one, else from its pictures in memory.

    Raises:
        ValueError, VideoError: it is no VIDEO, cannot be read, or is empty.
    """
    if not isinstance(video, VideoInput):
        raise ValueError(f"Connect a VIDEO: expected a video, got {type(video).__name__}.")
    if type(video).get_stream_source is not VideoInput.get_stream_source:
        source = video.get_stream_source()
        if hasattr(video, "get_active_trim_window"):
            return videos.VideoClip(source, *video.get_active_trim_window())
        clip = videos.VideoClip(source)
        if not hasattr(video, "as_trimmed") or abs(video.get_duration() - clip.duration) < 1 / clip.rate:
            return clip
        clip.close()  # trimmed, and this host does not say where: decode it in memory
    parts = video.get_components()
    images, alpha, audio = convert.frames(parts.images), getattr(parts, "alpha", None), parts.audio or {}
    if not len(images):
        raise videos.VideoError("Choose another video: expected a video, but there is no picture in it.")
    if alpha is not None:
        images = convert.frames(torch.cat([images, convert.masks(alpha)[..., None].to(images)], dim=-1))
    return videos.TensorClip(images, parts.frame_rate, audio.get("waveform"), audio.get("sample_rate", 0))


def backdrop(image: Tensor | None, video: VideoInput | None, clip: videos.Clip) -> Callable[[], videos.Clip]:
    """Return a function that opens a clip's background: the video, else the images at the clip's rate.

    Raises:
        ValueError: there is neither.
    """
    if video is not None:
        return partial(clip_of, video)
    if image is None:
        raise ValueError("Connect background_image or background_video, or choose over a colour: over a "
                         "background needs one.")
    return partial(videos.TensorClip, convert.frames(image), clip.rate)


def workflow_of(hidden) -> dict[str, object]:
    """Return the workflow as metadata for the file, from which ComfyUI loads it; {} if that is disabled."""
    if args.disable_metadata:
        return {}
    return {**(hidden.extra_pnginfo or {}), **({"prompt": hidden.prompt} if hidden.prompt else {})}


def preview_ui(path: Path, place: dict[str, str]) -> dict[str, tuple]:
    """Return the node's `ui`: the video, three pictures of a folder, or {} if browsers cannot play it."""
    if path.is_dir():
        names = sorted(os.listdir(path))
        inside = os.path.join(place["subfolder"], place["filename"])
        return {"images": tuple({**place, "subfolder": inside, "filename": name} for name in
                                dict.fromkeys((names[0], names[len(names) // 2], names[-1])))}
    if path.suffix in PREVIEWED:
        return {"images": (place,), "animated": (True,)}
    return {}
