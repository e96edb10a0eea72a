"""A model on a BACKGROUND_REMOVAL socket as a plain function from pictures to alpha."""

from __future__ import annotations

from collections.abc import Callable

import comfy.utils
import torch
from torch import Tensor

from . import progress
from .model import BiRefModel, matte_batch

USUAL_SIDE = 1024  # of models that do not tell
FINE = 100  # steps of the progress bar for each picture


class Progress:
    """The host's progress bar over pictures that each take several windows; also asks whether the user has
    stopped.

    Called as progress(done, total) with windows of the picture; `update` is for `matte_batch`, which counts
    on.
    """

    def __init__(self, pictures: int) -> None:
        self.bar = comfy.utils.ProgressBar(pictures * FINE)
        self.picture, self.done, self.total = 0, 0, 1

    def __call__(self, done: int, total: int) -> None:
        progress.check_interrupt()
        self.done, self.total = done, max(total, 1)
        self.bar.update_absolute(int(FINE * (self.picture + self.done / self.total)))

    def update(self, windows: int) -> None:
        self(min(self.done + windows, self.total), self.total)

    def next_picture(self) -> None:
        self.picture += 1
        self(0, 1)


def alpha_of(model: object, size: int, progress: Progress) -> Callable[[Tensor], Tensor]:
    """pictures [b,H,W,C] → alpha [b,H,W] in 0..1, float32, on the pictures' device; by `matte_batch`."""

    def ask(pictures: Tensor) -> Tensor:
        alpha = torch.empty(pictures.shape[:3], device=pictures.device)

        def keep(start: int, stop: int, _: Tensor, part: Tensor) -> None:
            alpha[start:stop] = part

        matte_batch(model, pictures, keep, size=size, bar=progress)
        return alpha

    return ask


def side_of(model: object, size: int) -> int:
    """The longer side at which the model sees a picture: `size`, or its own where that is 0."""
    own = model.network.config.size if isinstance(model, BiRefModel) else None
    return size or max(own or (USUAL_SIDE,))
