"""The host's progress bar and interrupts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import comfy.model_management as mm
import comfy.utils

Item = TypeVar("Item")


def each(items: Sequence[Item], bar: comfy.utils.ProgressBar | None = None) -> Iterator[Item]:
    """Yield items with the host's progress bar, or one to continue, and an interrupt check before each."""
    bar = bar or comfy.utils.ProgressBar(len(items))
    for item in items:
        check_interrupt()
        yield item
        bar.update(1)


def check_interrupt() -> None:
    """Raise the host's exception if the user has stopped the queue."""
    mm.throw_exception_if_processing_interrupted()


def download_progress() -> Callable[[int, int], None]:
    """A function progress(done, total), in bytes, with the host's progress bar and an interrupt check."""
    bar = comfy.utils.ProgressBar(1)

    def progress(done: int, total: int) -> None:
        check_interrupt()
        bar.update_absolute(done, max(total, 1))

    return progress
