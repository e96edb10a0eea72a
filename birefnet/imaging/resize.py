"""Tensors of pictures: from PIL, resized, over grey, convolved."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

BLOCK = 128  # columns of a banded matrix

GREY = 0.5                   # what transparent pixels of an RGBA input are laid over


def resample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased where it shrinks; the same pixel grid on the way in and on the way back."""
    if x.shape[2:] == size:
        return x
    try:
        return F.interpolate(x, size, mode="bilinear", antialias=True)
    except NotImplementedError:  # some releases of PyTorch lack the antialiased kernel on MPS
        return F.interpolate(x.cpu(), size, mode="bilinear", antialias=True).to(x.device)


def from_pil(image: Image.Image) -> Tensor:
    """[1,H,W,C] in 0..1; what is neither grey, RGB nor RGBA is converted to RGB(A)."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"a picture of mode {image.mode} has no known range; "
                         "birefnet.imaging.pictures.read scales such files")
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    return pixels.view(1, image.height, image.width, -1)


def over_grey(images: Tensor) -> Tensor:
    """Float32 colours [...,3] of images [...,C] in 0..1, C 1 (grey), 3 or 4 (straight RGBA), with what is transparent laid
    over grey: as `matte` shows them to the network, for networks that are asked in another way."""
    colours = _from_grey(images)
    return colours + GREY if images.shape[-1] == 4 else colours.expand(*images.shape[:-1], 3)


def _from_grey(images: Tensor) -> Tensor:
    """Float32 colours [...,1 or 3] of images [...,C]; of RGBA the difference from grey, weighted by opacity."""
    images = images.float()
    return images if images.shape[-1] < 4 else (images[..., :3] - GREY) * images[..., 3:]


def convolve(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolve [...,H,W] with the outer product of a symmetric kernel [2r+1] with itself, without padding:
    [...,H-2r,W-2r]."""
    return _convolve_rows(_convolve_rows(image, kernel).mT, kernel).mT


def _convolve_rows(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    # A product with a banded matrix: several times faster than a one-channel convolution on the CPU, and on the
    # GPU in full float32, which convolutions there by default are not.
    length = image.shape[-1] - kernel.numel() + 1
    block = min(BLOCK, length)
    band = torch.stack([torch.nn.functional.pad(kernel, (i, block - 1 - i)) for i in range(block)], dim=1)
    result = image.new_empty(*image.shape[:-1], length)
    for start in range(0, length, block):
        start = min(start, length - block)
        result[..., start : start + block] = image[..., start : start + len(band)] @ band
    return result
