"""Recognise out-of-memory errors, the budgets that are tried after one, and trim or keep the heap."""

from __future__ import annotations

import ctypes
import errno
import functools
import re
from collections.abc import Callable

import torch

# Messages of allocators that have no exception of their own: RAM on Linux and Windows, mapped files, MPS,
# CUDA, cuDNN, oneDNN (for which creating a primitive, once its descriptor is found, fails for no other
# reason).
NO_MEMORY = re.compile("can't allocate memory|cannot allocate memory|not enough memory|out of memory|"
                       "bad_alloc|status_alloc_failed|could not create a primitive(?! desc)", re.IGNORECASE)
PLANNED_SHARE = 0.7  # of free memory that a plan may use; the rest covers the estimate's error
FALLBACK_BUDGETS = (256 << 20, 32 << 20)  # bytes; tried in order when a single frame runs out of memory


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory has run out, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None


def trim_heap() -> None:
    """Return freed memory to the system; takes milliseconds.

    glibc keeps freed memory, and varying picture sizes fragment the heap, so that a long-running process
    grows. With other allocators this does nothing.
    """
    trim = _find_in_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def keep_heap() -> None:
    """Make glibc keep freed memory, in this process, instead of returning blocks above 128 KiB to the system
    each time, which takes a fifth of the time of making composites. With other allocators this does nothing.
    """
    set_option = _find_in_glibc("mallopt")
    if set_option is not None:
        set_option(-3, 2**25)  # M_MMAP_THRESHOLD, its maximum
        set_option(-1, 2**30)  # M_TRIM_THRESHOLD


@functools.cache
def _find_in_glibc(name: str) -> Callable[..., int] | None:
    """Find one of glibc's functions, or None."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (TypeError, OSError, AttributeError):  # Windows, macOS, musl
        return None
