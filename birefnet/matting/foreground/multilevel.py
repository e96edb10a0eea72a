"""Foreground colours by multi-level relaxation: the more exact method.

The energy is that of Germer, Uelwer, Conrad and Harmeling, "Fast Multi-Level Foreground Estimation" (2020):
colours F of the foreground and B of the background that explain the image I and change little from pixel to
pixel, above all where alpha does,

    sum_i (alpha_i F_i + (1 - alpha_i) B_i - I_i)^2
        + sum_ij (EPSILON + OMEGA |alpha_i - alpha_j|) ((F_i - F_j)^2 + (B_i - B_j)^2),

over pixels i and pairs ij that share a side. As there, it is minimised from the smallest picture to the
largest, each starting from the colours of the one before, by setting pixel after pixel to its optimum given
its neighbours.

Two things differ. A pixel of a smaller picture does not stand for one pixel but carries the mean of the first
sum over all that it covers, for which the means of alpha, alpha^2, alpha I and I suffice: where the subject's
edge runs through it, it still distinguishes both sides. And pixels are set like the fields of a chessboard,
first all red ones, then all black ones, which needs no loop over pixels. PyMatting's implementation takes 1.2
times as long and is less exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...device.compat import put_rows, weighted_rows

# Chosen with tests/matting/foreground/measure.py; EPSILON from 1e-3 to 5e-3 and OMEGA from 0.05 to 0.3 do
# about as well.
EPSILON, OMEGA = 2e-3, 0.1
SWEEPS = 3  # over each level: 1 leaves 14 % more error, 20 leave 4 % less
CLEAR = 0.02  # pixels closer than this to alpha 0 or 1 show one side only; half of a matte's soft pixels do


class Level(NamedTuple):
    """Means over the pixels that each pixel of a level [H,W,...] covers."""

    alpha: Tensor    # [H,W,1]
    square: Tensor   # of alpha^2, [H,W,1]
    blend: Tensor    # of alpha I, [H,W,3]
    image: Tensor    # [H,W,3]


def multi_level(image: Tensor, alpha: Tensor) -> Tensor:
    """Estimate foreground colours by multi-level relaxation.

    Args:
        image: float32 [H,W,3] in 0..1.
        alpha: float32 [H,W] in 0..1, 1 = subject.

    Returns:
        float32 [H,W,3] in 0..1. Where alpha is 1 the image's colours, bit for bit; where it is 0 the
        subject's, smoothly continued.
    """
    alpha = alpha[..., None]
    levels = [Level(alpha, alpha * alpha, alpha * image, image)]
    while max(levels[-1].alpha.shape[:2]) > 1:
        levels.append(Level(*map(_halve, levels[-1])))
    colours = image.mean((0, 1)).repeat(1, 1, 2)  # [H,W,6]: the foreground's, then the background's
    for level in reversed(levels):
        height, width = level.alpha.shape[:2]
        colours = _enlarge(_enlarge(colours, width, dim=1), height, dim=0)
        _set_clear(colours, level)
        _relax(colours, level)
    return colours[..., :3]


def _halve(picture: Tensor) -> Tensor:
    """The means of 2×2 pixels of [H,W,C]; an odd last row or column is repeated."""
    if len(picture) % 2:
        picture = torch.cat([picture, picture[-1:]])
    if picture.shape[1] % 2:
        picture = torch.cat([picture, picture[:, -1:]], dim=1)
    rows = picture[::2] + picture[1::2]
    return (rows[:, ::2] + rows[:, 1::2]).mul_(0.25)


def _enlarge(picture: Tensor, length: int, dim: int) -> Tensor:
    """Bilinear interpolation along one dimension to twice its length or one less: the inverse of `_halve`'s
    shapes."""
    result = picture.new_empty([length if i == dim else n for i, n in enumerate(picture.shape)])
    source, target = picture.movedim(dim, 0), result.movedim(dim, 0)
    target[0], target[-1] = source[0], source[-1]
    torch.lerp(source[1:], source[:-1], 0.25, out=target[2::2])
    torch.lerp(source[:-1], source[1:], 0.25, out=target[1:-1:2])
    return result


def _set_clear(colours: Tensor, level: Level) -> None:
    """Set the visible colour of pixels that show almost only one side, in place.

    The foreground's is the image without its share of the known background, the background's is the image.
    The side that a pixel does not show keeps the colour interpolated from the smaller level.
    """
    front, back = colours[..., :3], colours[..., 3:]
    alpha, image = level.alpha, level.image
    own = torch.addcmul(image, (1 - alpha) / alpha.clamp(min=0.5), image - back).clamp_(0, 1)
    torch.where(alpha >= 1 - CLEAR, own, front, out=front)
    torch.where(alpha <= CLEAR, image, back, out=back)


def _relax(colours: Tensor, level: Level) -> None:
    """Lower the energy over the level's mixed pixels, in place; the others are unchanged."""
    height, width = level.alpha.shape[:2]
    alpha = level.alpha[..., 0]
    mixed = (alpha > CLEAR) & (alpha < 1 - CLEAR)
    y, x = torch.arange(height, device=alpha.device), torch.arange(width, device=alpha.device)
    red = (y[:, None] + x) % 2 == 0
    fields = [Field((mixed & parity).view(-1).nonzero()[:, 0], level) for parity in (red, ~red)]
    for _ in range(SWEEPS):
        for field in fields:
            field.update(colours.view(-1, 6))


class Field:
    """N pixels of a level, no two of them neighbours, that can all be set to their optimum at once.

    The optimal f and b of a pixel, given its neighbours' F and B and the weights w of the pairs, solve

        [square + s         alpha - square         ] [f]   [blend         + sum w F]
        [alpha - square     1 - 2 alpha + square + s] [b] = [image - blend + sum w B],     s = sum w.

    The determinant is s (s + trace) + variance of alpha, a sum of non-negative terms.

    Args:
        here: the pixels as indices into the level's picture, row by row, int64 [N].
        level: its means.
    """

    def __init__(self, here: Tensor, level: Level) -> None:
        height, width = level.alpha.shape[:2]
        x = here % width
        self.here = here
        # At the border a pixel is its own neighbour, which does not change the optimum.
        around = torch.stack([torch.where(here < width, here, here - width),
                              torch.where(here >= (height - 1) * width, here, here + width),
                              torch.where(x == 0, here, here - 1),
                              torch.where(x == width - 1, here, here + 1)], dim=1)
        alpha, square, blend, image = (term.reshape(height * width, -1).index_select(0, here)
                                       for term in level)
        self.weights = EPSILON + OMEGA * (level.alpha.reshape(-1)[around] - alpha).abs()
        self.around = around.int()  # half as much to read
        total = self.weights.sum(1, keepdim=True)
        cross = alpha - square
        front, back = square, 1 - alpha - cross
        variance = (square - alpha * alpha).clamp(min=0)
        determinant = total * (total + front + back) + variance
        self.inverse = (back + total) / determinant, cross / determinant, (front + total) / determinant
        self.known = self._solve(blend, image - blend)

    def update(self, colours: Tensor) -> None:
        """Set the pixels' rows of colours [H*W,6] to their optimum, in place."""
        pull = weighted_rows(colours, self.around, self.weights)
        best = self._solve(pull[:, :3], pull[:, 3:]).add_(self.known).clamp_(0, 1)
        put_rows(colours, self.here, best)

    def _solve(self, front: Tensor, back: Tensor) -> Tensor:
        """Solve for right-hand sides [N,3] each: f and b, [N,6]."""
        ff, fb, bb = self.inverse
        return torch.cat([ff * front - fb * back, bb * back - fb * front], dim=1)
