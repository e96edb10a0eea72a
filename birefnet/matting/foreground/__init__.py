"""Estimate a cut-out subject's true colours, without the fringe of the old background.

    colours = foreground.estimate(image, alpha)     # [B,H,W,3], with alpha beside it straight RGBA
"""

from __future__ import annotations

import torch
from torch import Tensor

from .blurfusion import WIDTHS, blur_fusion
from .multilevel import multi_level

__all__ = ["METHODS", "WIDTHS", "estimate"]

METHODS = ("multi-level", "blur fusion")


@torch.no_grad()
def estimate(
    image: Tensor, alpha: Tensor, method: str = METHODS[0], *, widths: tuple[int, int] = WIDTHS
) -> Tensor:
    """Estimate the subject's colours.

    Args:
        image: float [B,H,W,C] in 0..1, C 1 (grey), 3 or 4 (a fourth channel is ignored).
        alpha: float [B,H,W] in 0..1, 1 = subject.
        method: one of METHODS.
        widths: pixels, sides of the two windows of blur fusion.

    Returns:
        float32 [B,H,W,3] in 0..1 on the image's device. Where alpha is 1 the image's colours, bit for bit;
        where it is 0 the colours of the subject near by, continued, so that a cut-out may be resized and its
        mask grown.

    Raises:
        ValueError: shapes or dtypes do not fit, or there is no such method.
    """
    if image.ndim != 4 or image.shape[3] not in (1, 3, 4) or not image.is_floating_point():
        raise ValueError(f"expected a float image [B,H,W,C] in 0..1 with C 1, 3 or 4, got {_describe(image)}")
    if alpha.shape != image.shape[:3] or not alpha.is_floating_point():
        raise ValueError(f"expected a float alpha {list(image.shape[:3])} for an image {list(image.shape)}, "
                         f"got {_describe(alpha)}: resize alpha to the image first")
    if method not in METHODS:
        raise ValueError(f"expected the method {' or '.join(METHODS)}, got {method}")
    result = image.new_empty(*image.shape[:3], 3, dtype=torch.float32)
    if not result.numel():
        return result
    for colours, frame, matte in zip(result, image, alpha.to(image.device)):
        frame = frame[..., :3].float().expand_as(colours)
        if method == "multi-level":
            colours.copy_(multi_level(frame, matte.float()))
        else:
            colours.copy_(blur_fusion(frame, matte.float(), widths))
    return result


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
