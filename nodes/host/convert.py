"""Converts the values of IMAGE and MASK sockets to float tensors of known shape. Does not import ComfyUI."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ...birefnet.imaging.levels import HALF_LEVEL
from . import messages

log = logging.getLogger(__name__)

CHANNELS = (1, 3, 4)


def frames(image: Tensor) -> Tensor:
    """View an image [B,H,W,C] or [H,W,C] as [B,H,W,C], with C 1 (grey), 3 (RGB) or 4 (RGBA); values are kept.

    Raises:
        ValueError: it is not a tensor of such a shape.
    """
    _expect_tensor("an IMAGE", image)
    view = image[None] if image.ndim == 3 and image.shape[-1] in CHANNELS else image
    if view.ndim != 4 or view.shape[-1] not in CHANNELS:
        raise ValueError("Connect an IMAGE [batch, height, width, channels] with 1, 3 or 4 channels: got "
                         f"{list(image.shape)}.")
    if not (view.shape[1] and view.shape[2]):
        raise ValueError(f"Connect an image of at least 1×1 pixel: got {list(image.shape)}.")
    return view


def masks(mask: Tensor) -> Tensor:
    """View a mask [H,W], [B,H,W], [B,1,H,W] or [B,H,W,1] as [B,H,W]; values are kept.

    Raises:
        ValueError: it is not a tensor of such a shape.
    """
    _expect_tensor("a MASK", mask)
    view = mask
    if mask.ndim == 2:
        view = mask[None]
    elif mask.ndim == 4 and mask.shape[1] == 1:
        view = mask[:, 0]
    elif mask.ndim == 4 and mask.shape[3] == 1:
        view = mask[..., 0]
    if view.ndim != 3:
        raise ValueError(f"Connect a MASK [batch, height, width]: got {list(mask.shape)}.")
    if not (view.shape[1] and view.shape[2]):
        raise ValueError(f"Connect a mask of at least 1×1 pixel: got {list(mask.shape)}.")
    return view


class Cleaner:
    """Converts tensors to float32 in 0..1.

    It logs the first time that values had to be clipped, and once shows a warning on the running node if some
    were not numbers.

    uint8 is divided by 255, bool becomes 0 and 1. NaN and −inf become 0, +inf 1, other values are clipped. A
    float32 tensor in range is returned without a copy.

    Args:
        name: of the input, in messages: "the image".

    Raises:
        ValueError: the tensor has another integer dtype.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.logged = False
        self.noted = False  # whether the user knows of NaN

    def __call__(self, values: Tensor) -> Tensor:
        if values.dtype == torch.uint8:
            return values.float() / 255
        if values.dtype != torch.bool and not values.is_floating_point():
            raise ValueError(f"Convert {self.name} to floats in 0..1: it is "
                             f"{str(values.dtype).removeprefix('torch.')}.")
        values = values.float()
        if not values.numel():
            return values
        low, high = (bound.item() for bound in values.aminmax())  # both NaN if any value is
        if low >= 0 and high <= 1:
            return values
        not_numbers = low != low
        if not self.logged:
            self.logged = True
            log.warning("BiRef: %s has values that are not in 0..1 (%s); they were clipped", self.name,
                        "NaN" if not_numbers else f"{low:g} to {high:g}")
        if not_numbers and not self.noted:
            self.noted = True
            messages.note(f"{self.name} held values that are not numbers (NaN), which count as 0: check what "
                          "made it")
        return values.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0).clamp(0, 1)


def snap_to_opaque(alpha: Tensor) -> Tensor:
    """Set alpha to 1 where 8 bits round it to 1.

    Networks and filters hardly ever output exactly 1, and the host's nodes round down when they save, so no
    pixel of a cut-out would be opaque.
    """
    return torch.where(alpha > 1 - HALF_LEVEL, 1, alpha)


def common_batch(masks: int, images: int, names: tuple[str, str] = ("masks", "images")) -> int:
    """Return the number of frames when masks are paired with images; a batch of one is repeated.

    Args:
        masks, images: lengths of the two batches.
        names: what the error message calls them.

    Raises:
        ValueError: the lengths differ, and neither is 1.
    """
    if masks != images and 1 not in (masks, images):
        one, other = names
        raise ValueError(f"Connect as many {one} as {other}, or one of either: got {masks} {one} and "
                         f"{images} {other}.")
    return images if masks == 1 else masks


def frame(batch: Tensor, index: int) -> Tensor:
    """Return frame `index` of a batch [B,...] as a batch of one; a batch of one repeats its frame."""
    index = 0 if len(batch) == 1 else index
    return batch[index:index + 1]


def with_alpha(images: Tensor, alpha: Tensor, out: Tensor | None = None) -> Tensor:
    """Return RGBA [B,H,W,4], straight alpha, from images [B,H,W,C] and alpha [B,H,W]; in `out` if given."""
    colours = images[..., :3] if images.shape[-1] >= 3 else images.expand(*images.shape[:3], 3)
    return torch.cat([colours.to(alpha), alpha[..., None]], dim=-1, out=out)


def _expect_tensor(kind: str, value: object) -> None:
    """Raise ValueError for anything but a plain tensor. kind: "an IMAGE"."""
    if not isinstance(value, Tensor):
        raise ValueError(f"Connect {kind}: expected a tensor, got {type(value).__name__}.")
    if value.layout != torch.strided or value.is_quantized or value.is_nested or value.is_meta:
        raise ValueError(f"Connect {kind} that is a plain tensor with values: got a sparse, quantised, "
                         "nested or meta tensor.")
