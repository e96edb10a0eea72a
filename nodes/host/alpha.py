"""Wraps a model of a BACKGROUND_REMOVAL socket as a plain function from pictures to alpha."""

from __future__ import annotations

from collections.abc import Callable

import comfy.utils
import torch
from torch import Tensor

from . import progress
from .model import BiRefModel, matte_batch

DEFAULT_SIDE = 1024      # pixels, for models that do not name a size
STEPS_PER_PICTURE = 100  # of the progress bar


class Progress:
    """The host's progress bar for pictures of several windows each; also checks for interrupts.

    Called as progress(done, total), in windows of the picture; `update` adds to done, for `matte_batch`.
    """

    def __init__(self, pictures: int) -> None:
        self.bar = comfy.utils.ProgressBar(pictures * STEPS_PER_PICTURE)
        self.picture, self.done, self.total = 0, 0, 1

    def __call__(self, done: int, total: int) -> None:
        progress.check_interrupt()
        self.done, self.total = done, max(total, 1)
        self.bar.update_absolute(int(STEPS_PER_PICTURE * (self.picture + self.done / self.total)))

    def update(self, windows: int) -> None:
        self(min(self.done + windows, self.total), self.total)

    def next_picture(self) -> None:
        self.picture += 1
        self(0, 1)


def alpha_of(model: object, size: int, progress: Progress) -> Callable[[Tensor], Tensor]:
    """Return a function from pictures [B,H,W,C] in 0..1 to their alpha.

    Args:
        model: from a BACKGROUND_REMOVAL socket.
        size: longer side of the network's input, in pixels; 0 for the model's own.
        progress: counts windows and checks for interrupts.

    Returns:
        A function whose result is float32 [B,H,W] in 0..1, on the pictures' device.
    """

    def ask(pictures: Tensor) -> Tensor:
        alpha = torch.empty(pictures.shape[:3], device=pictures.device)

        def keep(start: int, stop: int, _: Tensor, part: Tensor) -> None:
            alpha[start:stop] = part

        matte_batch(model, pictures, keep, size=size, bar=progress)
        return alpha

    return ask


def side_of(model: object, size: int) -> int:
    """Return the longer side of the network's input, in pixels: `size`, or the model's own if that is 0."""
    own = model.network.config.size if isinstance(model, BiRefModel) else None
    return size or max(own or (DEFAULT_SIDE,))
