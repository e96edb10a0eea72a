"""Smooth mattes over time: average flicker along the motion, follow changes, restart at cuts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..imaging.flow import box_mean, estimate_flow, resize_flow, warp
from ..imaging.resize import limit_side, resample

FLOW_SIDE = 384           # pixels: longer side at which motion is estimated
SAME_LUMA = 0.05          # luma difference at which trust in the motion falls to 1/e
ROUND_TRIP_ERROR = 1.0    # pixels at that size: forward-backward error at which trust falls to 1/e
MEMORY_SHARE = 0.6        # share of the past in the running means of alpha's changes
LEAST_CHANGE = 0.01       # mean absolute change of alpha below which its direction counts less
# Mean trust below which two frames belong to different shots; within a shot it is 0.5 or more.
CUT_TRUST = 0.1


class Smoother:
    """Smooth the mattes of a clip frame by frame: smoother(picture, alpha) -> alpha.

    The previous frame's smoothed alpha is warped along the motion between the pictures, and each pixel is
    blended with it by a share of at most `strength`. The share is smaller where the motion is unreliable,
    because the two places look different or the backward motion leads elsewhere (occlusions, fast motion),
    and where alpha has lately changed in one direction only, which is a change and not noise. After a cut,
    smoothing restarts. The state is a few maps of one frame's size.

    Args:
        strength: 0 leaves alpha unchanged, 1 replaces it by the past where the motion is reliable.

    Raises:
        ValueError: the strength is outside 0..1.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"Set strength to 0 to 1: it is {strength:g}")
        self.strength = strength
        self.cuts = 0
        self._luma = None   # of the previous frame, [1,1,h,w], reduced
        # Of the previous frame, [1,3,H,W]: smoothed alpha, mean change, mean absolute change.
        self._state = None

    def __call__(self, picture: Tensor, alpha: Tensor) -> Tensor:
        """Smooth one frame; a frame of another size than the previous one restarts the smoothing.

        Args:
            picture: float [1,H,W,C] in 0..1.
            alpha: float [1,H,W] in 0..1.

        Returns:
            float32 [1,H,W] in 0..1; alpha itself at strength 0.

        Raises:
            PackageError: kornia is missing.
        """
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
        # 1 where alpha keeps changing in one direction, 0 where it fluctuates
        steady = (drift * change.sign() / size.clamp(min=LEAST_CHANGE)).clamp(0, 1)
        result = alpha - self.strength * trust * (1 - steady**2) * change
        drift = torch.lerp(change, drift, MEMORY_SHARE)
        size = torch.lerp(change.abs(), size, MEMORY_SHARE)
        self._state = torch.cat([result, drift, size], dim=1)
        return result[:, 0]

    def _past(self, before: Tensor | None, shape: torch.Size) -> tuple[Tensor, ...] | None:
        """Warp the state along the motion: its three maps and the trust in it, [1,1,H,W] each; None for the
        first frame, after a cut, and if the size changed."""
        if self._state is None or self._state.shape[2:] != shape[2:]:
            return None
        motion, trust = estimate_motion(self._luma, before)
        if trust.mean() < CUT_TRUST:
            self.cuts += 1
            return None
        moved = warp(self._state, resize_flow(motion, shape[2:]))
        return *moved.split(1, dim=1), resample(trust, shape[2:])


def small_luma(picture: Tensor) -> Tensor:
    """Luma [1,1,h,w] of a picture [1,H,W,C], reduced to FLOW_SIDE pixels."""
    luma = picture[..., :3].float().mean(-1)[:, None]
    return resample(luma, limit_side(luma.shape[2:], FLOW_SIDE))


def estimate_motion(here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate the motion between two pictures, and how far it can be trusted.

    Args:
        here, there: luma float [1,1,h,w] in 0..1.

    Returns:
        Motion [1,2,h,w] from `here` to `there` as (x, y) in pixels, and trust [1,1,h,w] in 0..1.
    """
    motion, back = estimate_flow(torch.cat([here, there]), torch.cat([there, here])).split(1)
    round_trip = (motion + warp(back, motion)).square().sum(1, keepdim=True)
    different = box_mean((here - warp(there, motion)).abs(), 3)
    return motion, torch.exp(-((different / SAME_LUMA) ** 2) - round_trip / ROUND_TRIP_ERROR**2)
