"""The process's own memory, at present and at its peak."""

from __future__ import annotations

import sys

from birefnet.device.resident import resident_bytes

__all__ = ["peak_resident_bytes", "resident_bytes"]


def peak_resident_bytes() -> int | None:
    """Return the peak of resident bytes so far; None if unknown."""
    peak = resident_bytes("VmHWM")  # getrusage's would include the parent's peak before the fork
    if peak is not None:
        return peak
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return None
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
