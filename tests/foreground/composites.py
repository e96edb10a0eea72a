"""Composites whose foreground colours are known: real mattes over photographs, with subjects of three kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

SOLID = 0.98  # alpha from which a photograph's pixel shows the subject's own colour
COLOURS = ((0.05, 0.75, 0.15), (0.1, 0.2, 0.95), (0.97, 0.97, 0.97), (0.95, 0.1, 0.1), (0.03, 0.03, 0.03))


class Composite(NamedTuple):
    """image and colours, the known foreground, [H,W,3], and alpha [H,W]: float32 in 0..1."""

    name: str
    image: np.ndarray
    alpha: np.ndarray
    colours: np.ndarray


def composites(folders: list[Path], longest: int = 1920) -> Iterator[Composite]:
    """Three for each matte `<folder>/gt/<stem>.png` of a photograph `<folder>/im/<stem>.*`, each over another ground:

    own: the photographed subject itself, its colours continued outwards by reflection in its edge, over a photograph;
    photo: another photograph in the subject's place, over a third one;
    drawn: waves of saturated colours over one strong colour.
    """
    pairs = [(next((folder / "im").glob(matte.stem + ".*")), matte)
             for folder in folders for matte in sorted((folder / "gt").glob("*.png"))]
    photos = [photo for photo, _ in pairs]
    for i, (photo, matte) in enumerate(pairs):
        alpha = read(matte, longest, "L")
        image = read(photo, longest, "RGB")
        size = alpha.shape[1], alpha.shape[0]
        other, ground = photos[(i + 1) % len(pairs)], photos[(i + 2) % len(pairs)]
        plain = np.broadcast_to(np.float32(COLOURS[i % len(COLOURS)]), image.shape)
        for kind, front, back in (
            ("own", continued(image, alpha), read_to_cover(ground, size)),
            ("photo", read_to_cover(other, size), read_to_cover(ground, size)[:, ::-1]),
            ("drawn", waves(size, seed=i), plain),
        ):
            yield Composite(f"{matte.stem} {kind}", eight_bits(blend(front, back, alpha)), alpha, front)


def blend(front: np.ndarray, back: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return back + alpha[..., None] * (front - back)


def eight_bits(image: np.ndarray) -> np.ndarray:
    return np.float32(np.rint(image * 255) / 255)


def continued(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The photograph's own colours where alpha [H,W] is solid; elsewhere those at the mirror image of the pixel in the
    nearest solid one, or that one's own where the mirror image is not solid."""
    solid = alpha >= SOLID
    nearest = ndimage.distance_transform_edt(~solid, return_distances=False, return_indices=True)
    here = np.indices(alpha.shape)
    limit = np.array(alpha.shape)[:, None, None] - 1
    mirrored = np.clip(2 * nearest - here, 0, limit)
    source = np.where(solid[tuple(mirrored)], mirrored, nearest)
    return image[tuple(source)]


def waves(size: tuple[int, int], seed: int) -> np.ndarray:
    """Smooth waves of a few pixels to a few hundred, of a colour of their own in each channel: [H,W,3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]]
    image = np.zeros((size[1], size[0], 3), np.float32)
    for length in (400, 130, 45, 15):
        angle, phase = rng.uniform(0, 2 * np.pi, (2, 3))
        along = y[..., None] * np.sin(angle) + x[..., None] * np.cos(angle)
        image += np.sin(2 * np.pi * along / length + phase) * (length / 400) ** 0.4
    return np.float32(0.5 + 0.25 * image).clip(0, 1)


def read(path: Path, longest: int, mode: str) -> np.ndarray:
    image = Image.open(path).convert(mode)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 255


def read_to_cover(path: Path, size: tuple[int, int]) -> np.ndarray:
    image = ImageOps.fit(Image.open(path).convert("RGB"), size, Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 255


def error(found: np.ndarray, known: np.ndarray, alpha: np.ndarray) -> tuple[float, float]:
    """Mean absolute and mean squared error of colours [H,W,3], weighted by alpha, where .05 < alpha < .95; in 8-bit
    levels and in squares of them."""
    weight = np.where((alpha > 0.05) & (alpha < 0.95), alpha, 0).astype(np.float64)
    difference = (found.astype(np.float64) - known) * 255
    total = max(weight.sum(), 1e-9)
    return (float((np.abs(difference).mean(-1) * weight).sum() / total),
            float(((difference**2).mean(-1) * weight).sum() / total))
