"""The training losses: pixel losses of every output, and gradient supervision of the outward reference.

Weights and terms are the authors' (Zheng et al. 2024, and the configuration published with their code).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.packages import require
from ..network.birefnet import TrainOutputs

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # pixels: side and standard deviation of the Gaussian window

_SEGMENTATION = {"bce": 30.0, "iou": 0.5, "ssim": 10.0}
# Weight of each term of the pixel loss, by task.
WEIGHTS = {
    "general": {"bce": 30.0, "iou": 0.5, "l1": 100.0, "ssim": 10.0},
    "dis": _SEGMENTATION,
    "cod": _SEGMENTATION,
    "hrsod": _SEGMENTATION,
    "matting": {"bce": 30.0, "l1": 100.0, "ssim": 10.0},
}


def compute_losses(
    outputs: TrainOutputs, image: Tensor, alpha: Tensor, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """Compute the weighted loss terms of a batch.

    Args:
        outputs: logits of the final, side and gradient outputs.
        image: float [B,3,H,W], normalised, the network's input.
        alpha: float [B,1,H,W] in 0..1.
        weights: of the pixel terms.

    Returns:
        Term → scalar: the pixel terms, each summed over the final and the side outputs, and "gradient".

    Raises:
        PackageError: kornia is missing.
    """
    stages = [compute_pixel_losses(resize_like(logits, alpha), alpha, weights)
              for logits in (*outputs.side, outputs.logits)]
    parts = {name: sum(stage[name] for stage in stages) for name in weights}
    return parts | {"gradient": gradient_loss(outputs, image)}


def compute_pixel_losses(logits: Tensor, alpha: Tensor, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Compute the terms that `weights` names for logits and alpha [B,1,H,W], times their weights."""
    predicted = logits.sigmoid()
    terms = {"bce": lambda: F.binary_cross_entropy_with_logits(logits, alpha),
             "iou": lambda: iou_loss(predicted, alpha),
             "l1": lambda: F.l1_loss(predicted, alpha),
             "ssim": lambda: ssim_loss(predicted, alpha)}
    return {name: weight * terms[name]() for name, weight in weights.items()}


def iou_loss(predicted: Tensor, alpha: Tensor) -> Tensor:
    """1 - intersection / union of soft masks [B,1,H,W], summed over the batch."""
    both = (predicted * alpha).sum((1, 2, 3))
    either = predicted.sum((1, 2, 3)) + alpha.sum((1, 2, 3)) - both
    return (1 - both / either.clamp_min(1e-6)).sum()


def ssim_loss(predicted: Tensor, alpha: Tensor) -> Tensor:
    """1 - (1 + SSIM) / 2 of masks [B,1,H,W] in 0..1 (Wang et al. 2004); Gaussian window, zero padding."""
    maps = torch.cat([predicted, alpha, predicted**2, alpha**2, predicted * alpha], dim=1)
    rows = gaussian_window().to(maps).expand(5, 1, 1, -1)
    blurred = F.conv2d(maps, rows, padding=(0, SSIM_WINDOW // 2), groups=5)
    blurred = F.conv2d(blurred, rows.mT, padding=(SSIM_WINDOW // 2, 0), groups=5)
    mean_p, mean_a, square_p, square_a, product = blurred.unbind(1)
    c1, c2 = 0.01**2, 0.03**2
    covariance = product - mean_p * mean_a
    variance = square_p - mean_p**2 + square_a - mean_a**2
    likeness = (2 * mean_p * mean_a + c1) * (2 * covariance + c2)
    ssim = likeness / ((mean_p**2 + mean_a**2 + c1) * (variance + c2))
    return 1 - (1 + ssim.mean()) / 2


@functools.cache
def gaussian_window() -> Tensor:
    """The Gaussian's weights [SSIM_WINDOW], which sum to 1."""
    return require("kornia.filters", "training").get_gaussian_kernel1d(SSIM_WINDOW, SSIM_SIGMA)[0]


def gradient_loss(outputs: TrainOutputs, image: Tensor) -> Tensor:
    """Gradient supervision of the outward reference.

    Cross-entropy between each stage's predicted gradient and the sigmoid of the image's Laplacian times the
    side logits, summed over stages 4, 3 and 2.
    """
    laplacian = require("kornia.filters", "training").laplacian
    edges = laplacian(image.mean(1, keepdim=True), 5)
    loss = image.new_zeros(())
    for side, predicted in zip(outputs.side, outputs.gradient):
        label = (edges * resize_like(side, edges)).sigmoid()
        loss = loss + F.binary_cross_entropy_with_logits(resize_like(predicted, edges), label)
    return loss


def resize_like(x: Tensor, like: Tensor) -> Tensor:
    """Resize x [B,C,h,w] bilinearly to the height and width of `like`, corners aligned."""
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)
