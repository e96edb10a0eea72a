"""Between whatever arrives on an IMAGE or MASK socket and clean float tensors of known shape. Knows no
ComfyUI."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

log = logging.getLogger(__name__)

CHANNELS = (1, 3, 4)


def frames(image: Tensor) -> Tensor:
    """View an image as [B,H,W,C] with C 1 (grey), 3 (RGB) or 4 (RGBA). Takes [B,H,W,C] and [H,W,C]; values
    stay."""
    _expect_tensor("image", image)
    view = image[None] if image.ndim == 3 and image.shape[-1] in CHANNELS else image
    if view.ndim != 4 or view.shape[-1] not in CHANNELS:
        raise ValueError(f"expected an image [batch, height, width, channels] with 1, 3 or 4 channels, "
                         f"got {list(image.shape)}: connect an IMAGE")
    if not (view.shape[1] and view.shape[2]):
        raise ValueError(f"expected an image of at least 1×1 pixel, got {list(image.shape)}")
    return view


def masks(mask: Tensor) -> Tensor:
    """View a mask as [B,H,W]. Takes [H,W], [B,H,W], [B,1,H,W] and [B,H,W,1]; values stay."""
    _expect_tensor("mask", mask)
    view = mask
    if mask.ndim == 2:
        view = mask[None]
    elif mask.ndim == 4 and mask.shape[1] == 1:
        view = mask[:, 0]
    elif mask.ndim == 4 and mask.shape[3] == 1:
        view = mask[..., 0]
    if view.ndim != 3:
        raise ValueError(f"expected a mask [batch, height, width], got {list(mask.shape)}: connect a MASK")
    if not (view.shape[1] and view.shape[2]):
        raise ValueError(f"expected a mask of at least 1×1 pixel, got {list(mask.shape)}")
    return view


class Cleaner:
    """Brings values to float32 in 0..1, chunk by chunk, and logs the first time that it had to change some.

    uint8 is divided by 255, bool becomes 0 and 1; NaN and −inf become 0, +inf 1, the rest is clipped. Float32
    values that are in range come back as they are, without a copy.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.logged = False
        self.not_numbers = False  # whether some were NaN

    def __call__(self, values: Tensor) -> Tensor:
        if values.dtype == torch.uint8:
            return values.float() / 255
        if values.dtype != torch.bool and not values.is_floating_point():
            raise ValueError(f"expected {self.name} in floats 0..1, got "
                             f"{str(values.dtype).removeprefix('torch.')}")
        values = values.float()
        if not values.numel():
            return values
        low, high = (bound.item() for bound in values.aminmax())  # both NaN if any value is
        if low >= 0 and high <= 1:
            return values
        self.not_numbers |= low != low
        if not self.logged:
            self.logged = True
            log.warning("BiRef: %s has values that are not in 0..1 (%s); they were clipped", self.name,
                        "NaN" if low != low else f"{low:g} to {high:g}")
        return values.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0).clamp(0, 1)


def certain(alpha: Tensor) -> Tensor:
    """Alpha that is 1 to the nearest of 8 bits, as 1: a network or a filter is never quite sure, and the
    host's nodes round down when they save, so that no pixel of a cut-out would be opaque."""
    return torch.where(alpha > 1 - 0.5 / 255, 1, alpha)


def common_batch(masks: int, images: int, names: tuple[str, str] = ("masks", "images")) -> int:
    """How many frames come of pairing so many masks and images: equal counts, or one that serves all the
    others."""
    if masks != images and 1 not in (masks, images):
        one, other = names
        raise ValueError(f"expected as many {one} as {other}, or one of either, got {masks} {one} and "
                         f"{images} {other}")
    return images if masks == 1 else masks


def in_some(indices: list[int], total: int, what: str) -> str:
    """Which of all frames, to tell of: "in 3 of 9 pictures (index 0, 3, 7)"; the first ten by index."""
    listed = ", ".join(map(str, indices[:10])) + (", …" if len(indices) > 10 else "")
    return f"in {len(indices)} of {total} {what} (index {listed})"


def frame(batch: Tensor, index: int) -> Tensor:
    """Frame `index` of a batch [B,...] as a batch of one; a batch of one serves every index."""
    index = 0 if len(batch) == 1 else index
    return batch[index:index + 1]


def cutout(images: Tensor, alpha: Tensor, out: Tensor | None = None) -> Tensor:
    """RGBA [B,H,W,4] with straight alpha: the colours of images [B,H,W,C] as they are, alpha [B,H,W] beside
    them; in `out`, where it is given."""
    colours = images[..., :3] if images.shape[-1] >= 3 else images.expand(*images.shape[:3], 3)
    return torch.cat([colours.to(alpha), alpha[..., None]], dim=-1, out=out)


def _expect_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"expected {name} as a tensor, got {type(value).__name__}: is something connected?")
    if value.layout != torch.strided or value.is_quantized or value.is_nested or value.is_meta:
        raise ValueError(f"expected {name} as a plain tensor with values, got a sparse, quantised, nested or "
                         "empty one")
