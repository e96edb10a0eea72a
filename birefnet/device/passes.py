"""The retry loop: a batch in passes of a few frames, smaller ones where memory runs out."""

from __future__ import annotations

from collections.abc import Callable


class OutOfMemory(RuntimeError):
    """Not even one frame fits into memory on any device; the message is a sentence that says what to do."""


def in_passes(
    total: int,
    per_pass: int,
    run: Callable[[int, int], None],
    *,
    out_of_memory: Callable[[Exception], bool],
    relieve: Callable[[], None],
    lower: Callable[[], bool],
) -> int:
    """Call run(start, stop) until 0..total is done, in order.

    When a pass runs out of memory, `relieve` is called and the same frames are run again, half as many at a
    time. When a single frame runs out of memory, `lower` is called first.

    Args:
        total: number of frames.
        per_pass: frames per pass at first.
        run: processes frames start to stop - 1; may be called again for the same frames.
        out_of_memory: whether an error means that memory has run out.
        relieve: frees the memory that allocators cache.
        lower: makes a frame need less memory, in the end on another device; False if there is no way left.

    Returns:
        Frames per pass in the end.

    Raises:
        OutOfMemory: `lower` returned False. Any other error, and an interrupt, passes through.
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
        relieve()  # outside `except`: the error's traceback holds the failed pass's tensors
        if stop - start > 1:
            per_pass = (stop - start) // 2
        elif not lower():
            raise OutOfMemory("Choose a smaller size or a lighter checkpoint, make the image smaller, or "
                              "close other programs: out of memory even with one frame at a time")
    return per_pass
