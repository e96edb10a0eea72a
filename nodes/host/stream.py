"""Matting pictures that come one by one: a clip of any length, of which only two passes are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import comfy.model_management as mm
import torch
from torch import Tensor

from ...birefnet.device import passes
from . import convert, memory, progress
from .model import worker_for


def matte_stream(
    model: object, pictures: Iterator[Tensor], *, size: int = 0, per_pass: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """(picture [1,H,W,C] cleaned, alpha [1,H,W]) for each of `pictures` [H,W,C], which all have one shape.

    size, per_pass and what happens when memory runs out are `matte_batch`'s. Where the device works beside the
    processor, the pass before is handed out while it works on the next.
    """
    first = next(pictures, None)
    if first is None:
        return
    clean = convert.Cleaner("the video")
    worker = worker_for(model, first[None], size, per_pass)
    pictures = chain([first], pictures)
    del first
    working = []
    try:
        while chunk := list(islice(pictures, worker.per_pass)):
            images = clean(torch.stack(chunk))
            chunk.clear()  # the stack has copies
            started = []

            def run(start: int, stop: int) -> None:
                progress.check_interrupt()
                started.append((images[start:stop], worker.start(images[start:stop])))

            worker.per_pass = passes.in_passes(
                len(images), worker.per_pass, run, out_of_memory=memory.is_out_of_memory, relieve=mm.soft_empty_cache,
                lower=worker.lower)
            yield from settled(working)
            working = started
            if not worker.overlaps:
                yield from settled(working)
        yield from settled(working)
    finally:
        worker.close()


def settled(working: list) -> Iterator[tuple[Tensor, Tensor]]:
    """The frames of passes that were begun, one by one, with alpha where the pictures are."""
    while working:
        images, alpha = working.pop(0)
        yield from zip(images.split(1), alpha().to(images.device).split(1))
