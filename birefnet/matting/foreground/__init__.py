"""Estimate a cut-out subject's true colours, without the fringe of the old background.

    colours = foreground.estimate(image, alpha)     # [B,H,W,3], with alpha beside it straight RGBA
    colours = foreground.despill(colours, foreground.measure_screen(image[0], alpha[0]))
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...imaging.finite import check_finite
from .blurfusion import WIDTHS, blur_fusion
from .multilevel import multi_level
from .screens import LIMITS, NoBackgroundError, despill, measure_screen

__all__ = ["LIMITS", "METHODS", "WIDTHS", "NoBackgroundError", "despill", "estimate", "measure_screen"]

METHODS = ("multi-level", "blur fusion")


@torch.no_grad()
def estimate(
    image: Tensor, alpha: Tensor, method: str = METHODS[0], *, widths: tuple[int, int] = WIDTHS
) -> Tensor:
    """Estimate the subject's colours.

    Args:
        image: float [B,H,W,C] in 0..1, C 1 (grey), 3 or 4 (a fourth channel is ignored). Linear light may
            be brighter.
        alpha: float [B,H,W] in 0..1, 1 = subject.
        method: one of METHODS.
        widths: pixels, sides of the two windows of blur fusion.

    Returns:
        float32 [B,H,W,3], 0 or more, on the image's device. Where alpha is 1, the image's colours, bit for
        bit; where it is 0, those of the subject nearby, continued, so that a cut-out can be resized and its
        mask dilated.

    Raises:
        ValueError: shapes or dtypes do not fit, or there is no such method.
        UserError: a value is not finite.
    """
    if image.ndim != 4 or image.shape[3] not in (1, 3, 4) or not image.is_floating_point():
        raise ValueError(f"Give a float image [B,H,W,C] in 0..1 with C 1, 3 or 4: got {_describe(image)}")
    if alpha.shape != image.shape[:3] or not alpha.is_floating_point():
        raise ValueError(f"Resize alpha to the image first: expected floats {list(image.shape[:3])} for an "
                         f"image {list(image.shape)}, got {_describe(alpha)}")
    check_finite(image[..., :3], "image")
    check_finite(alpha, "alpha")
    if method not in METHODS:
        raise ValueError(f"Set method to {' or '.join(METHODS)}: it is {method}")
    result = image.new_empty(*image.shape[:3], 3, dtype=torch.float32)
    if not result.numel():
        return result
    for colours, frame, matte in zip(result, image, alpha.to(image.device)):
        frame = frame[..., :3].float().expand_as(colours)
        # Both methods expect 0..1. Scaling by a power of two is exact.
        scale = 2.0 ** math.ceil(math.log2(max(1.0, frame.amax().item())))
        found = (multi_level(frame / scale, matte.float()) if method == METHODS[0] else
                 blur_fusion(frame / scale, matte.float(), widths))
        colours.copy_(torch.where(matte[..., None] >= 1, frame, found * scale))
    return result


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
