"""The process's own memory, as the system counts it."""

from __future__ import annotations

import sys


def resident_bytes() -> int | None:
    """Return the resident bytes at present; None if unknown."""
    return _status("VmRSS")


def peak_resident_bytes() -> int | None:
    """Return the peak of resident bytes so far; None if unknown."""
    peak = _status("VmHWM")  # getrusage's would include the parent's peak before the fork
    if peak is not None:
        return peak
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return None
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(key: str) -> int | None:
    """Read an entry of /proc/self/status, in bytes."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(key)), None)
    except OSError:
        return None
