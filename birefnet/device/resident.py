"""The process's own memory, as the system counts it."""

from __future__ import annotations


def resident_bytes(entry: str = "VmRSS") -> int | None:
    """Return the resident bytes at present; None if unknown.

    entry: of Linux's /proc/self/status; "VmHWM" is the peak so far.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(entry)), None)
    except OSError:
        return None
