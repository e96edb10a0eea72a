"""PyAV (bindings to FFmpeg), imported when the first video is opened."""

from __future__ import annotations

from types import ModuleType

from ..files.errors import UserError


class VideoError(UserError):
    """A video cannot be read or written; the message is one sentence."""


def pyav() -> ModuleType:
    """Import PyAV. Raises VideoError if it is not installed."""
    try:
        import av
    except ImportError:
        raise VideoError('Install PyAV for reading and writing video: pip install "av>=14.2"') from None
    return av
