"""Matte a clip frame by frame; long clips need no more memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction

from torch import Tensor

from .looks import Look
from .read import Clip

# Pictures [H,W,C] one by one -> (picture [1,H,W,C], alpha [1,H,W]) in order; may read ahead.
Mattes = Callable[[Iterator[Tensor]], Iterator[tuple[Tensor, Tensor]]]


def matting(
    clip: Clip,
    mattes: Mattes,
    look: Look,
    *,
    see: Callable[[Tensor], Tensor] | None = None,
    smooth: Callable[[Tensor, Tensor], Tensor] | None = None,
    colours: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Iterator[tuple[Fraction, Tensor, Tensor]]:
    """Matte a clip.

    Args:
        clip: opened.
        mattes: pairs pictures with alpha. The opacity of RGBA pictures is part of alpha.
        look: composes each picture of the result.
        see: picture [H,W,C] -> the picture that `mattes` and `smooth` get; None for the same.
        smooth: (picture [1,H,W,C], alpha) -> alpha, smoothed over time.
        colours: (picture [1,H,W,3], alpha) -> picture in the subject's own colours.

    Yields:
        Each picture's time in seconds, the result's picture by `look`, and alpha [1,H,W].
    """
    ahead = deque()

    def pictures() -> Iterator[Tensor]:
        for time, picture in clip:
            ahead.append((time, picture if see else None))
            yield see(picture) if see else picture

    for picture, alpha in mattes(pictures()):
        time, own = ahead.popleft()
        if smooth is not None:
            alpha = smooth(picture, alpha)
        if own is not None:
            picture = own[None].to(picture)
        picture = picture[..., :3].expand(-1, -1, -1, 3)
        if colours is not None:
            picture = colours(picture, alpha)
        yield time, look(time, picture, alpha), alpha
