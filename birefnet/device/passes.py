"""Working through a batch in passes of a few frames, and what to do when memory runs out."""

from __future__ import annotations

from collections.abc import Callable


class OutOfMemory(RuntimeError):
    """Not even one frame fits, on no device; the message is one sentence."""


def in_passes(
    total: int,
    per_pass: int,
    run: Callable[[int, int], None],
    *,
    out_of_memory: Callable[[Exception], bool],
    relieve: Callable[[], None],
    lower: Callable[[], bool],
) -> int:
    """Call run(start, stop) until 0..total is done, `per_pass` frames at a time; the number that it came down to.

    When a pass runs out of memory: relieve(), then the same frames again, half as many at a time; with one frame left,
    lower() makes it need less, in the end on another device, and where no way is left (it returns False), OutOfMemory.
    Any other error, and an interrupt, passes through.
    """
    start = 0
    while start < total:
        stop = min(start + per_pass, total)
        try:
            run(start, stop)
        except Exception as error:
            if not out_of_memory(error):
                raise
        else:
            start = stop
            continue
        relieve()  # only here, outside `except`: the error's traceback held the failed pass's tensors
        if stop - start > 1:
            per_pass = (stop - start) // 2
        elif not lower():
            raise OutOfMemory("out of memory even with one frame at a time: choose a smaller size or a lighter "
                              "checkpoint, make the image smaller, or close other programs")
    return per_pass
