"""How an allocator says that memory ran out, and what may be planned with and given back."""

from __future__ import annotations

import ctypes
import errno
import functools
import re
from collections.abc import Callable

import torch

# What allocators say where there is no exception of their own: RAM of Linux and Windows, mapped files, MPS, CUDA, cuDNN,
# oneDNN (which has no other reason left once it has found a primitive's "descriptor").
NO_MEMORY = re.compile("can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc|"
                       "status_alloc_failed|could not create a primitive(?! desc)", re.IGNORECASE)
PLANNED_SHARE = 0.7              # of what is free that a pass may plan with: the estimate is one
FALLBACK_BUDGETS = (256 << 20, 32 << 20)  # budgets to go through when one frame runs out of memory all the same


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None


def trim_heap() -> None:
    """Give the system what this process has freed. Linux's allocator (glibc) keeps it, and as pictures of ever other
    sizes leave ever other gaps, a process that serves for days grows; elsewhere this does nothing. Takes milliseconds."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim, where there is one."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (TypeError, OSError, AttributeError):  # Windows, macOS, musl
        return None
