"""Augmentations of a picture and its mask, under the names of the authors' configuration: flip, enhance,
rotate, pepper, crop.

The first four have the parameters of their public code (shared with SINet and other trainers for camouflaged
and salient objects): mirrored in half of the cases; rotated by up to 15° in a fifth; brightness and contrast
times 0.5 to 1.5, saturation 0 to 2, sharpness 0 to 3; 0.15 % of the mask's pixels set to black or white.
Their crop trims up to 30 pixels around the centre at network size; here it is a random window with at least
nine tenths of each side, cut before the picture is resized.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

Rng = np.random.Generator
MAX_ROTATION = 15        # degrees
ROTATED_SHARE = 0.2      # of the pictures
PEPPER_SHARE = 0.0015    # of the pixels
LEAST_CROP = 0.9         # of each side


def crop(rng: Rng, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Crop image [1,H,W,C] and mask [1,H,W] to the same random window."""
    height, width = mask.shape[1:]
    h, w = (max(1, round(side * rng.uniform(LEAST_CROP, 1))) for side in (height, width))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return image[:, y:y + h, x:x + w], mask[:, y:y + h, x:x + w]


def flip(rng: Rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Mirror both left to right in half of the cases."""
    return (ImageOps.mirror(image), ImageOps.mirror(mask)) if rng.random() < 0.5 else (image, mask)


def rotate(rng: Rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Rotate both in a fifth of the cases; empty corners become black, and background in the mask."""
    if rng.random() >= ROTATED_SHARE:
        return image, mask
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
    return tuple(layer.rotate(angle, Image.Resampling.BICUBIC) for layer in (image, mask))


def enhance(rng: Rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Change the picture's brightness, contrast, saturation and sharpness."""
    for kind, low, high in ((ImageEnhance.Brightness, 0.5, 1.5), (ImageEnhance.Contrast, 0.5, 1.5),
                            (ImageEnhance.Color, 0.0, 2.0), (ImageEnhance.Sharpness, 0.0, 3.0)):
        image = kind(image).enhance(rng.uniform(low, high))
    return image, mask


def pepper(rng: Rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Set random pixels of the mask to black or white."""
    levels = np.array(mask)
    count = int(PEPPER_SHARE * levels.size)
    levels.flat[rng.integers(levels.size, size=count)] = rng.choice(np.array([0, 255], np.uint8), count)
    return image, Image.fromarray(levels)


AT_NETWORK_SIZE = {"flip": flip, "enhance": enhance, "rotate": rotate, "pepper": pepper}
