"""Clips: read, matted and written frame by frame, in constant memory."""

from __future__ import annotations

from pathlib import Path

from ..files.errors import VideoError
from . import rendering
from .adaptation import adapt, network_conversion, open_for_network
from .animation import ANIMATIONS, AnimationClip, is_animation
from .following import Following
from .frame_loop import matting
from .read import Clip, TensorClip, VideoClip
from .saved_mattes import discard_mattes
from .sequence import FrameFiles, SequenceClip
from .write import FORMATS, QUALITIES, Writer, writing

__all__ = ["ANIMATIONS", "FORMATS", "QUALITIES", "AnimationClip", "Clip", "Following", "FrameFiles",
           "SequenceClip", "TensorClip", "VideoClip", "VideoError", "Writer", "adapt", "discard_mattes",
           "matting", "network_conversion", "open_clip", "open_for_network", "rendering", "writing"]


def open_clip(path: str | Path) -> VideoClip | AnimationClip:
    """Open a video file, or an animated GIF, WebP or PNG, as a clip; raises VideoError."""
    return AnimationClip(path) if is_animation(path) else VideoClip(path)
