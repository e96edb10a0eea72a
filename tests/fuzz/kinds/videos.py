"""Video files: damaged bytes of small clips in several containers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from .kind import Bytes

MOST = 12  # pictures of a clip that are looked at


def refusals() -> tuple[type[BaseException], ...]:
    from birefnet.video import VideoError

    return (VideoError,)


def start(folder: Path):
    import logging

    import av

    from birefnet import video

    logging.disable()
    av.logging.set_level(None)
    path = folder / "a.mp4"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with video.VideoClip(path) as clip:
            assert clip.rate > 0 and clip.tick > 0 and clip.aspect > 0 and clip.count >= 1
            shapes = {tuple(picture.shape) for _, picture in islice(clip, MOST)}
        assert len(shapes) <= 1, shapes
        assert all(shape[:2] == (clip.height, clip.width) for shape in shapes)

    return read


KINDS = (
    Bytes(
        "videos",
        "bytes of small clips: MP4, MOV, Matroska, WebM, AVI, TS",
        10,
        start,
        refusals,
        seeds="videos",
        instrument=("birefnet.video",),
    ),
)
