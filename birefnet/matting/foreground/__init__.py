"""True colours of a cut-out subject, without the fringe of the old background: pure functions of image and alpha.

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
def estimate(image: Tensor, alpha: Tensor, method: str = METHODS[0], *, widths: tuple[int, int] = WIDTHS) -> Tensor:
    """The subject's colours, float32 [B,H,W,3] in 0..1, of images [B,H,W,C] under alpha [B,H,W], both in 0..1.

    C is 1 (grey), 3 or 4 (whose alpha is not used). method: one of METHODS; widths: of the two windows of blur fusion,
    in pixels. Where alpha is 1 colours are the image's own, bit for bit, and where it is 0 those of the subject near
    by, continued, so that a cut-out may be resized and its mask grown. On the image's device, frame by frame.
    """
    if image.ndim != 4 or image.shape[3] not in (1, 3, 4) or not image.is_floating_point():
        raise ValueError(f"expected a float image [B,H,W,C] in 0..1 with C 1, 3 or 4, got {_told(image)}")
    if alpha.shape != image.shape[:3] or not alpha.is_floating_point():
        raise ValueError(f"expected a float alpha {list(image.shape[:3])} for an image {list(image.shape)}, "
                         f"got {_told(alpha)}: resize alpha to the image first")
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


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
