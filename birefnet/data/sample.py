"""From a pair of files to a training sample: resized, augmented, possibly over a new background."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..imaging import pictures
from ..imaging.levels import to_levels
from ..imaging.resize import resample
from ..matting import foreground
from ..matting.predict import resize_to_network
from . import augment
from .pairs import Pair
from .read import read_mask

COMPOSED_SHARE = 0.5  # of the pictures that get a new background, if backgrounds are given


def make_sample(pair: Pair, size: tuple[int, int], rng: np.random.Generator, augmentations: Collection[str],
                backgrounds: Sequence[Path] = ()) -> tuple[Tensor, Tensor]:
    """Read, resize and augment a pair; all random choices come from `rng`.

    Picture and mask are stretched to `size` as birefnet.matte stretches a photograph.

    Args:
        pair: the files.
        size: height and width in pixels.
        rng: random numbers.
        augmentations: names, see `augment`.
        backgrounds: picture files; a random one replaces the background in half of the cases.

    Returns:
        Image uint8 [3,h,w] and alpha uint8 [1,h,w].

    Raises:
        PictureError: a file cannot be read.
    """
    image, mask = pictures.read(pair.picture), read_mask(pair.truth)
    if "crop" in augmentations:
        image, mask = augment.crop(rng, image, mask)
    image = resize_to_network(image[0], size).permute(0, 2, 3, 1)
    mask = resample(mask[None], size)[0]
    if backgrounds and rng.random() < COMPOSED_SHARE:
        image = replace_background(rng, image, mask, backgrounds[rng.integers(len(backgrounds))])
    layers = Image.fromarray(to_levels(image[0])), Image.fromarray(to_levels(mask[0]))
    for name, vary in augment.AT_NETWORK_SIZE.items():
        if name in augmentations:
            layers = vary(rng, *layers)
    picture, alpha = (torch.from_numpy(np.array(layer)) for layer in layers)
    return picture.permute(2, 0, 1).contiguous(), alpha[None]


def replace_background(rng: np.random.Generator, image: Tensor, alpha: Tensor, background: Path) -> Tensor:
    """Composite the subject, in its own colours, over another picture, mirrored in half of the cases.

    image: [1,h,w,3] in 0..1. alpha: [1,h,w]. Returns float [1,h,w,3].
    """
    behind = pictures.read_to_cover(background, *alpha.shape[1:])[..., :3]
    if rng.random() < 0.5:
        behind = behind.flip(2)
    colours = foreground.estimate(image.contiguous(), alpha)
    return colours * alpha[..., None] + behind * (1 - alpha[..., None])
