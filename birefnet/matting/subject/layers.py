"""Which of two things each pixel moves with, after the idea of layers (Wang and Adelson, IEEE TIP 1994).

Optical flow is unreliable along the edge between two things that pass each other. Each thing as a whole
moves simply, though: an affine motion is fitted to its flow, and every pixel is compared with the frame
before along both motions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...imaging.flow import box_mean, warp

SIDE = 5               # pixels of the flow: side of the neighbourhood that is compared
SURE_ALPHA = 0.9       # from it on, a pixel's motion is the thing's own
RIDGE = 1e-3           # added to the normal equations, against singular ones
LEAST_PIXELS = 40.0    # of a thing, for a motion to be fitted to it
# Pixels: deviation from the motion fitted so far at which a weight falls to 1/2, in each round of a fit.
FIT_ERRORS = (4.0, 2.0, 1.0, 1.0)
NOISE = 0.007          # difference of luma that makes a logit of 1
LARGEST_LOGIT = 6.0    # in either direction


def compare_motions(here: Tensor, before: Tensor, motion: Tensor, trust: Tensor, own: Tensor, others: Tensor
                    ) -> Tensor:
    """Compare the motions of a subject and of other things.

    Args:
        here, before: luma [1,1,h,w] of the frame and the one before it.
        motion: [1,2,h,w], the flow from `here` to `before`, see `estimate_motion`.
        trust: [1,1,h,w] in 0..1, of the flow.
        own, others: mattes [1,1,h,w] in `here`, by the flow.

    Returns:
        The probability [1,1,h,w] that a pixel moves with the subject; 1/2 where there is no difference.
    """
    errors = []
    for mask in (own, others):
        fitted = fit_affine(motion, trust * (mask > SURE_ALPHA) * (own + others).clamp(0, 1))
        if fitted is None:
            return torch.full_like(own, 0.5)
        errors.append(box_mean((here - warp(before, fitted)).abs(), SIDE))
    return ((errors[1] - errors[0]) / NOISE).clamp(-LARGEST_LOGIT, LARGEST_LOGIT).sigmoid()


def fit_affine(motion: Tensor, weight: Tensor) -> Tensor | None:
    """Fit an affine motion to a flow, by least squares with weights that fall with the deviation.

    The first is the median motion, so that less than half of the pixels may move otherwise.

    Args:
        motion: [1,2,h,w].
        weight: [1,1,h,w], of each pixel.

    Returns:
        [1,2,h,w]; None if the weights sum to less than LEAST_PIXELS.
    """
    if weight.sum() < LEAST_PIXELS:
        return None
    height, width = motion.shape[2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y]).to(motion).flatten(1)       # [3,n]
    flow, weight = motion[0].flatten(1), weight.flatten()
    fitted = flow[:, weight > 0].median(1, keepdim=True).values
    for error in FIT_ERRORS:
        now = weight / (1 + (flow - fitted).square().sum(0) / error**2)
        normal = (basis * now) @ basis.T + RIDGE * torch.eye(3).to(motion)
        fitted = torch.linalg.solve(normal, (basis * now) @ flow.T).T @ basis
    return fitted.view_as(motion)
