"""Matting pictures that come one by one: a clip of any length, of which only a pass is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import comfy.model_management as mm
import torch
from torch import Tensor

from . import convert, host, passes
from .model import worker_for


def matte_stream(
    model: object, pictures: Iterator[Tensor], *, size: int = 0, per_pass: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """(picture [1,H,W,C] cleaned, alpha [1,H,W]) for each of `pictures` [H,W,C], which all have one shape.

    Reads as many ahead as go into a pass. size, per_pass and what happens when memory runs out are `matte_batch`'s.
    """
    first = next(pictures, None)
    if first is None:
        return
    clean = convert.Cleaner("the video")
    worker = worker_for(model, first.expand(max(per_pass, 1), *first.shape), size, per_pass)
    coming = chain([first], pictures)
    del first
    while chunk := list(islice(coming, worker.per_pass)):
        images = clean(torch.stack(chunk))
        alphas = []

        def run(start: int, stop: int) -> None:
            host.check_interrupt()
            alphas.append(worker.start(images[start:stop])())

        worker.per_pass = passes.in_passes(
            len(chunk), worker.per_pass, run, out_of_memory=host.is_out_of_memory, relieve=mm.soft_empty_cache,
            lower=worker.lower)
        yield from zip(images.split(1), torch.cat(alphas).split(1))
