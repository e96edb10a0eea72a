"""Matte a clip frame by frame; long clips need no more memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction

from torch import Tensor

from .read import Clip
from .rendering import Renderer

# Pictures [H,W,C] one by one -> (picture [1,H,W,C], alpha [1,H,W]) in order; may read ahead.
Mattes = Callable[[Iterator[Tensor]], Iterator[tuple[Tensor, Tensor]]]


def matting(
    clip: Clip,
    mattes: Mattes,
    render: Renderer,
    *,
    to_network: Callable[[Tensor], Tensor] | None = None,
    smooth: Callable[[Tensor, Tensor], Tensor] | None = None,
    colours: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Iterator[tuple[Fraction, Tensor, Tensor]]:
    """Matte a clip.

    Args:
        clip: opened.
        mattes: pairs pictures with alpha. The opacity of RGBA pictures is part of alpha.
        render: composes each picture of the result.
        to_network: picture [H,W,C] -> the picture that `mattes` and `smooth` get; None for the same.
        smooth: (picture [1,H,W,C], alpha) -> alpha, smoothed over time.
        colours: (picture [1,H,W,3], alpha) -> picture in the subject's own colours.

    Yields:
        Each picture's time in seconds, the result's picture by `render`, and alpha [1,H,W].
    """
    ahead = deque()

    def pictures() -> Iterator[Tensor]:
        for time, picture in clip:
            ahead.append((time, picture if to_network else None))
            yield to_network(picture) if to_network else picture

    for picture, alpha in mattes(pictures()):
        time, original = ahead.popleft()
        if smooth is not None:
            alpha = smooth(picture, alpha)
        if original is not None:
            picture = original[None].to(picture)
        picture = picture[..., :3].expand(-1, -1, -1, 3)
        if colours is not None:
            picture = colours(picture, alpha)
        yield time, render(time, picture, alpha), alpha
