"""Mattes a clip of any length, with at most two passes in memory."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ...birefnet.matting import runner
from . import convert
from .model import worker_for


def matte_stream(
    model: object, pictures: Iterator[Tensor], *, size: int = 0, per_pass: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (picture [1,H,W,C] in 0..1, alpha [1,H,W]) for each of `pictures`, see `runner.run_stream`.

    Args:
        model: from a BACKGROUND_REMOVAL socket.
        pictures: [H,W,C] each, all of one shape.
        size, per_pass: as for `worker_for`.
    """
    return runner.run_stream(lambda first: worker_for(model, first[None], size, per_pass), pictures,
                             convert.Cleaner("the video"))
