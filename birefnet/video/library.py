"""PyAV (bindings to FFmpeg), imported when the first video is opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType

from ..files.errors import PictureError, PicturePackageError, VideoError


def pyav() -> ModuleType:
    """Import PyAV. Raises VideoError if it is not installed."""
    try:
        import av
    except ImportError:
        raise VideoError('Install PyAV for reading and writing video: pip install "av>=14.2"') from None
    return av


@contextlib.contextmanager
def picture_as_video_errors(action: str) -> Iterator[None]:
    """Convert PictureError, which begins with the file's name, to a VideoError that begins with `action`."""
    try:
        yield
    except PicturePackageError as error:
        raise VideoError(str(error)) from None
    except PictureError as error:
        raise VideoError(action, str(error)) from None
