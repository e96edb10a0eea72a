"""Clips: read, matted and written frame by frame, in constant memory."""

from __future__ import annotations

from pathlib import Path

from ..files.errors import VideoError
from . import looks
from .adapt import adapt, as_seen, seen_by_networks
from .animation import ANIMATIONS, Animation, is_animation
from .following import Following
from .kept import discard
from .matting import matting
from .read import Clip, File, Pictures
from .sequence import FrameFiles, Frames
from .write import FORMATS, QUALITIES, writing

__all__ = ["ANIMATIONS", "FORMATS", "QUALITIES", "Animation", "Clip", "File", "Following", "FrameFiles",
           "Frames", "Pictures", "VideoError", "adapt", "as_seen", "discard", "looks", "matting", "open_clip",
           "seen_by_networks", "writing"]


def open_clip(path: str | Path) -> File | Animation:
    """Open a video file, or an animated GIF, WebP or PNG, as a clip; raises VideoError."""
    return Animation(path) if is_animation(path) else File(path)
