"""Resize and convolve pictures, convert them from PIL, and composite them over grey."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

BLOCK_COLUMNS = 128  # columns of a banded matrix, at most
GREY = 0.5  # transparent pixels of an RGBA image are composited over this


def resample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bilinearly, with antialiasing where it shrinks.

    Args:
        x: float [B,C,H,W].
        size: height and width of the result in pixels.

    Returns:
        float [B,C,*size]; x itself where it has that size.
    """
    if x.shape[2:] == size:
        return x
    try:
        return F.interpolate(x, size, mode="bilinear", antialias=True)
    except NotImplementedError:  # some releases of PyTorch lack the antialiased kernel on MPS
        return F.interpolate(x.cpu(), size, mode="bilinear", antialias=True).to(x.device)


def limit_side(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Scale a size (height, width) so that its longer side is at most `longest` pixels."""
    scale = min(1.0, longest / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def from_pil(image: Image.Image) -> Tensor:
    """Convert a PIL image to a tensor.

    Args:
        image: of any mode but integers or floats without a known range (I, F); what is neither grey, RGB nor
            RGBA is converted to RGB or RGBA.

    Returns:
        float32 [1,H,W,C] in 0..1, C 1, 3 or 4.

    Raises:
        ValueError: the mode's range is unknown.
    """
    if image.mode.startswith(("I", "F")):
        raise ValueError("Read the file with birefnet.imaging.pictures.read, which scales it: a picture of "
                         f"mode {image.mode} has no known range")
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    return pixels.view(1, image.height, image.width, -1)


def over_grey(images: Tensor) -> Tensor:
    """Composite images over grey, as `birefnet.matte` shows them to the network.

    Args:
        images: float [...,C] in 0..1, C 1 (grey), 3 (RGB) or 4 (straight RGBA).

    Returns:
        float32 [...,3] in 0..1.
    """
    colours = premultiply_around_grey(images)
    return colours + GREY if images.shape[-1] == 4 else colours.expand(*images.shape[:-1], 3)


def premultiply_around_grey(images: Tensor) -> Tensor:
    """Return the colours of images in float32; those of RGBA as (colour - GREY) · opacity.

    Added to GREY, which may wait until they are resized, these are the images over grey.

    Args:
        images: float [...,C] in 0..1, C 1 (grey), 3 (RGB) or 4 (straight RGBA).

    Returns:
        float32 [...,1 or 3].
    """
    images = images.float()
    return images if images.shape[-1] < 4 else (images[..., :3] - GREY) * images[..., 3:]


def convolve(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolve an image with the outer product of a symmetric kernel with itself, without padding.

    By products with banded matrices: `kornia.filters.filter2d_separable` takes 1.2 times as long with 9 taps
    and 3.5 to 5 times with 57 (one core), and its convolutions round float32 to TF32 on CUDA by default.

    Args:
        image: float [...,H,W].
        kernel: float [2r+1].

    Returns:
        float [...,H-2r,W-2r].
    """
    return _convolve_rows(_convolve_rows(image, kernel).mT, kernel).mT


def _convolve_rows(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolve each row of [...,W] with a symmetric kernel [2r+1]: [...,W-2r]."""
    length = image.shape[-1] - kernel.numel() + 1
    block = min(BLOCK_COLUMNS, length)
    band = torch.stack([torch.nn.functional.pad(kernel, (i, block - 1 - i)) for i in range(block)], dim=1)
    result = image.new_empty(*image.shape[:-1], length)
    for start in range(0, length, block):
        start = min(start, length - block)
        result[..., start : start + block] = image[..., start : start + len(band)] @ band
    return result
