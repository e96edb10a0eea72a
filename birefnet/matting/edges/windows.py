"""Place windows over the uncertain parts of a picture, and blend their results without seams."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

CELLS = 8   # per window's side, of the grid on which windows are placed
RIM = 1     # cells along a window's border that do not count as covered: networks err at the border
WINDOWS_AT_ONCE = 16

# (alphas [n,h,w], pictures [n,h,w,C], weights [n,h,w]) -> new alphas [n,h,w]
Answer = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def choose_windows(need: torch.Tensor, side: int) -> list[tuple[slice, slice]]:
    """Choose windows that cover every pixel with need, away from a window's border unless that is the
    picture's, too.

    Greedy, in steps of side / CELLS: the next window is the one whose inner part covers most of the remaining
    need.

    Args:
        need: float [H,W], 0 where no window is needed.
        side: pixels of a window's side; windows are smaller if the picture is.

    Returns:
        Slices of rows and columns, one pair for each window.
    """
    cell = max(side // CELLS, 1)
    height, width = need.shape
    padding = (0, -width % cell, 0, -height % cell)
    left = F.avg_pool2d(F.pad(need[None].float(), padding), cell)[0].cpu()
    inner = CELLS - 2 * RIM
    found = []
    while left.max() > 0:
        # sums[y, x]: over the cells y - inner + 1 .. y and the same columns
        sums = F.avg_pool2d(F.pad(left[None], (inner - 1,) * 4), inner, 1)[0]
        y, x = divmod(int(sums.argmax()), sums.shape[1])
        top, start = y - inner + 1, x - inner + 1
        left[max(top, 0):y + 1, max(start, 0):x + 1] = 0
        found.append((_span((top - RIM) * cell, side, height), _span((start - RIM) * cell, side, width)))
    return found


def _span(start: int, side: int, length: int) -> slice:
    """A slice of `side` pixels from `start` on, shifted into 0..length."""
    start = max(min(start, length - side), 0)
    return slice(start, min(start + side, length))


def blend_windows(
    answer: Answer,
    alpha: torch.Tensor,
    image: torch.Tensor,
    weight: torch.Tensor,
    side: int,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Compute alpha in windows wherever it is needed, and blend the results.

    Where windows overlap, results are averaged with weights that fall to 0 at each window's border, so that
    no seam shows.

    Args:
        answer: computes alpha in a group of windows, see `Answer`.
        alpha: float [1,H,W] in 0..1.
        image: float [1,H,W,C] in 0..1.
        weight: float [1,H,W], 0 where nothing is needed.
        side: pixels of a window's side.
        progress: progress(done, total) is called with numbers of windows.

    Returns:
        float [1,H,W] in 0..1, unchanged where no window lies.
    """
    found = choose_windows(weight[0], side)
    if not found:
        return alpha
    total, weights = torch.zeros_like(alpha[0]), torch.zeros_like(alpha[0])
    bell = _bell(*alpha[0][found[0]].shape).to(alpha)
    for start in range(0, len(found), WINDOWS_AT_ONCE):
        if progress:
            progress(start, len(found))
        group = found[start:start + WINDOWS_AT_ONCE]
        cut = [torch.stack([part[0][window] for window in group]) for part in (alpha, image, weight)]
        for window, new in zip(group, answer(*cut)):
            total[window] += bell * new.to(total)
            weights[window] += bell
    if progress:
        progress(len(found), len(found))
    return torch.where(weights > 0, total / weights, alpha[0])[None]


def _bell(height: int, width: int) -> torch.Tensor:
    """A raised cosine over [height,width], above 0 in every pixel."""
    down, along = (torch.sin(torch.pi * (torch.arange(n) + 0.5) / n) ** 2 for n in (height, width))
    return down[:, None] * along
