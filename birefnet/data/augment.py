"""Variations of a picture and its mask, by the names that the authors' configuration has: flip, enhance, rotate,
pepper, crop.

Amounts of the first four are theirs, as their public code has them (the family of camouflage and salient-object
trainers that began with SINet): mirrored in half of the cases; turned by up to 15° in a fifth; brightness and contrast
times 0.5 to 1.5, saturation 0 to 2, sharpness 0 to 3; 0.15 % of the mask's pixels set to black or white. Their crop
trims up to 30 pixels about the centre at network size; here a window anywhere keeps at least nine tenths of each side,
cut before the picture is scaled.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

Rng = np.random.Generator
LARGEST_TURN = 15                       # degrees
TURNED = 0.2                            # share of pictures
PEPPER = 0.0015                         # share of pixels
KEPT = 0.9                              # of each side, at least, by crop


def crop(rng: Rng, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same window of [1,H,W,C] and [1,H,W]."""
    height, width = mask.shape[1:]
    h, w = (max(1, round(side * rng.uniform(KEPT, 1))) for side in (height, width))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return image[:, y:y + h, x:x + w], mask[:, y:y + h, x:x + w]


def flip(rng: Rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    return (ImageOps.mirror(image), ImageOps.mirror(mask)) if rng.random() < 0.5 else (image, mask)


def rotate(rng: Rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    """What comes in from outside is black, and background."""
    if rng.random() >= TURNED:
        return image, mask
    angle = rng.uniform(-LARGEST_TURN, LARGEST_TURN)
    return tuple(layer.rotate(angle, Image.Resampling.BICUBIC) for layer in (image, mask))


def enhance(rng: Rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    for kind, low, high in ((ImageEnhance.Brightness, 0.5, 1.5), (ImageEnhance.Contrast, 0.5, 1.5),
                            (ImageEnhance.Color, 0.0, 2.0), (ImageEnhance.Sharpness, 0.0, 3.0)):
        image = kind(image).enhance(rng.uniform(low, high))
    return image, mask


def pepper(rng: Rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    levels = np.array(mask)
    count = int(PEPPER * levels.size)
    levels.flat[rng.integers(levels.size, size=count)] = rng.choice(np.array([0, 255], np.uint8), count)
    return image, Image.fromarray(levels)


AT_NETWORK_SIZE = {"flip": flip, "enhance": enhance, "rotate": rotate, "pepper": pepper}
