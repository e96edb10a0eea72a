"""Video: reading, matting and writing frame by frame, in constant memory."""

from __future__ import annotations

from . import looks
from .following import Following
from .library import VideoError
from .matting import matting
from .read import Clip, File, Pictures
from .write import FORMATS, QUALITIES, writing

__all__ = ["FORMATS", "QUALITIES", "Clip", "File", "Following", "Pictures", "VideoError", "looks", "matting",
           "writing"]
