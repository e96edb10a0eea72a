"""Composites whose foreground colours are known: a matte with one subject's colours over another picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

SOLID = 0.98  # alpha from which a photograph's pixel shows the subject's own colour
STRONG = ((0.05, 0.75, 0.15), (0.1, 0.2, 0.95), (0.97, 0.97, 0.97), (0.95, 0.1, 0.1), (0.03, 0.03, 0.03))


class Composite(NamedTuple):
    """image, and the foreground's known colours in it, [H,W,3]; alpha [H,W]; float32 in 0..1."""

    name: str
    image: np.ndarray
    colours: np.ndarray
    alpha: np.ndarray


def composites(pairs: list[tuple[Path, Path]], longest: int) -> Iterator[Composite]:
    """Three for each photograph and its matte, no side longer than `longest`, saved as 8 bits save them:

    own: the photographed subject itself, its colours continued outwards by reflection in its edge, over a
    photograph; photo: another photograph in the subject's place, over a third one;
    drawn: waves of all colours over one strong colour.
    """
    for i, (photo, matte) in enumerate(pairs):
        alpha, image = read(matte, "L", longest), read(photo, "RGB", longest)
        size = alpha.shape[1], alpha.shape[0]
        other, ground = (read_to_cover(pairs[(i + step) % len(pairs)][0], size) for step in (1, 2))
        plain = np.broadcast_to(np.float32(STRONG[i % len(STRONG)]), image.shape)
        for kind, front, back in (("own", continued(image, alpha), ground), ("photo", other, ground[:, ::-1]),
                                  ("drawn", waves(size, seed=i), plain)):
            image = back + alpha[..., None] * (front - back)
            yield Composite(f"{matte.stem} {kind}", np.float32(np.rint(image * 255) / 255), front, alpha)


def continued(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The photograph's own colours where alpha [H,W] is solid; elsewhere those at the mirror image of the
    pixel in the nearest solid one, or that one's own where the mirror image is not solid."""
    solid = alpha >= SOLID
    nearest = ndimage.distance_transform_edt(~solid, return_distances=False, return_indices=True)
    limit = np.array(alpha.shape)[:, None, None] - 1
    mirrored = np.clip(2 * nearest - np.indices(alpha.shape), 0, limit)
    return image[tuple(np.where(solid[tuple(mirrored)], mirrored, nearest))]


def waves(size: tuple[int, int], seed: int) -> np.ndarray:
    """Waves from 15 to 400 pixels long, each colour channel's of its own direction: [H,W,3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]]
    image = np.full((size[1], size[0], 3), 0.5)
    for length in (400, 130, 45, 15):
        angle, phase = rng.uniform(0, 2 * np.pi, (2, 3))
        along = y[..., None] * np.sin(angle) + x[..., None] * np.cos(angle)
        image += 0.25 * np.sin(2 * np.pi * along / length + phase) * (length / 400) ** 0.4
    return np.float32(image.clip(0, 1))


def read(path: Path, mode: str, longest: int) -> np.ndarray:
    image = Image.open(path).convert(mode)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 255


def read_to_cover(path: Path, size: tuple[int, int]) -> np.ndarray:
    image = ImageOps.fit(Image.open(path).convert("RGB"), size, Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 255


def errors(found: np.ndarray, composite: Composite) -> tuple[float, float]:
    """Mean absolute and mean squared error of colours [H,W,3], weighted by alpha, where .05 < alpha < .95; in
    8-bit levels and their squares."""
    alpha = composite.alpha.astype(np.float64)
    weight = np.where((alpha > 0.05) & (alpha < 0.95), alpha, 0)
    off = (found.astype(np.float64) - composite.colours) * 255
    return tuple(float((measure(off).mean(-1) * weight).sum() / weight.sum())
                 for measure in (np.abs, np.square))
