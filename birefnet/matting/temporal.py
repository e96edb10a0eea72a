"""Mattes steadied over time: what flickers is averaged along the motion, what changes is followed, cuts begin anew."""

from __future__ import annotations

import torch
from torch import Tensor

from ..imaging.flow import box, flow, resized, warp
from ..imaging.resize import resample

SIDE = 384         # pixels of the longer side at which motion is found
SAME = 0.05        # luma difference at which two places count as different ones
ASTRAY = 1.0       # pixels (of those) by which the way there and back may miss
MEMORY = 0.6       # share of the past in the running means of what changed
LEAST = 0.01       # mean change of alpha under which nothing is told from its direction
CUT = 0.1          # mean trust below which two frames are of different shots; within a shot .5 and more is usual


class Smoother:
    """Frame by frame: smoother(picture, alpha) -> alpha with less flicker. Memory: a few maps of one frame's size.

    The smoothed alpha of the frame before is moved along the motion between the pictures, and each pixel takes a share
    of it: `strength` at most; less where the motion is not to be trusted (the two places look different, or the way
    back leads elsewhere: what was hidden, or moves too fast); less where alpha has lately moved one way only, which is
    a change and no noise. At a cut the past is forgotten.

    strength: 0 leaves alpha as it is; 1 would take all of the past where it can be trusted.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"expected a strength of 0 to 1, got {strength:g}")
        self.strength = strength
        self.cuts = 0
        self._luma = None   # of the frame before, [1,1,h,w], reduced
        self._state = None  # of the frame before: smoothed alpha, mean change, mean size of the changes, [1,3,H,W]

    def __call__(self, picture: Tensor, alpha: Tensor) -> Tensor:
        """Picture [1,H,W,C] in 0..1 and its alpha [1,H,W] -> alpha [1,H,W]. Another size begins anew."""
        if not self.strength:
            return alpha
        before, self._luma = self._luma, small_luma(picture).to(alpha.device)
        alpha = alpha.float()[:, None]
        past = self._past(before, alpha.shape)
        if past is None:
            self._state = torch.cat([alpha, torch.zeros_like(alpha), torch.zeros_like(alpha)], dim=1)
            return alpha[:, 0]
        smoothed, drift, size, trust = past
        change = alpha - smoothed
        going_on = (drift * change.sign() / size.clamp(min=LEAST)).clamp(0, 1)
        result = alpha - self.strength * trust * (1 - going_on**2) * change
        drift = torch.lerp(change, drift, MEMORY)
        size = torch.lerp(change.abs(), size, MEMORY)
        self._state = torch.cat([result, drift, size], dim=1)
        return result[:, 0]

    def _past(self, before: Tensor | None, shape: torch.Size) -> tuple[Tensor, ...] | None:
        """The state moved to where its places are now, and the trust in that; None at a beginning."""
        if self._state is None or self._state.shape[2:] != shape[2:]:
            return None
        motion, trust = motion_between(self._luma, before)
        if trust.mean() < CUT:
            self.cuts += 1
            return None
        moved = warp(self._state, resized(motion, shape[2:]))
        return *moved.split(1, dim=1), resample(trust, shape[2:])


def small_luma(picture: Tensor) -> Tensor:
    """Luma [1,1,h,w] of a picture [1,H,W,C], reduced to SIDE pixels."""
    luma = picture[..., :3].float().mean(-1)[:, None]
    scale = min(1.0, SIDE / max(luma.shape[2:]))
    return resample(luma, tuple(max(1, round(side * scale)) for side in luma.shape[2:]))


def motion_between(here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Motion [1,2,h,w] from `here` to `there`, and how far it can be trusted, [1,1,h,w] in 0..1."""
    motion, back = flow(torch.cat([here, there]), torch.cat([there, here])).split(1)
    missed = (motion + warp(back, motion)).square().sum(1, keepdim=True)
    different = box((here - warp(there, motion)).abs(), 3)
    return motion, torch.exp(-((different / SAME) ** 2) - missed / ASTRAY**2)
