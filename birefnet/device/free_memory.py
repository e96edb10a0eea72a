"""Free memory of a GPU, of the machine, or of the container around this process."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch


def free_memory(device: torch.device | str = "cpu") -> int | None:
    """Return the bytes that a computation on the device can still allocate, or None if unknown.

    Memory that PyTorch's allocator has reserved but not allocated counts as free.
    """
    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    if device.type not in ("cpu", "mps"):
        return None
    reader = {"linux": lambda: read_linux(Path("/")), "win32": read_windows,
              "darwin": read_macos}.get(sys.platform)
    try:
        return reader() if reader else None
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return None


def read_linux(root: Path) -> int:
    """Read the kernel's MemAvailable, in bytes, or less if a control group of this process allows less.

    root: root folder of the system's files; tests use another one.
    """
    machine = 1024 * int(read_fields(root / "proc/meminfo", ":")["MemAvailable"].split()[0])
    return max(0, min([machine, *control_groups(root)]))


def control_groups(root: Path) -> Iterator[int]:
    """Yield limit minus usage, in bytes, of each control group, from this process's own to the outermost.

    File pages that the kernel can drop count as free, as in container tools. Version 2 has one hierarchy,
    version 1 one for memory; in a container the outermost group is the container's.
    """
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, used, idle = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            limit, used, idle = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                bound = int((folder / limit).read_text())  # "max" is not a number
                droppable = int(read_fields(folder / "memory.stat", " ").get(idle, 0))
                taken = int((folder / used).read_text()) - droppable
                yield bound - taken
            except (OSError, ValueError):
                pass
            if folder == top:
                break


def read_fields(file: Path, separator: str) -> dict[str, str]:
    """Read name → value from lines of a name, the separator and a value."""
    lines = (line.partition(separator) for line in file.read_text().splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def read_windows() -> int:
    """Read the free bytes of memory, or of memory and page file if that is less. Raises OSError."""

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong),
                    *((name, ctypes.c_ulonglong) for name in (
                        "total", "available", "total_page", "available_page", "total_virtual",
                        "available_virtual", "extended"))]

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("GlobalMemoryStatusEx failed")
    return min(status.available, status.available_page)


def read_macos() -> int:
    """Read the free bytes from `vm_stat`."""
    output = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True, timeout=5).stdout
    return parse_vm_stat(output)


def parse_vm_stat(output: str) -> int:
    """Sum the bytes of pages that are free, or that can be read again from disk."""
    heading, *lines = output.splitlines()
    page = int(heading.split("page size of")[1].split()[0])
    entries = (line.partition(":") for line in lines)
    pages = {name: int(value.strip(" .")) for name, _, value in entries if value.strip()}
    return page * sum(pages[f"Pages {kind}"] for kind in ("free", "inactive", "speculative"))
