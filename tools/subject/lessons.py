"""Training samples of the selector: pictures, the network's mattes of them, and the mattes of each subject.

A sample is SIDE pixels square: a whole composed picture, or a crop around one of its subjects. Some
(SINGLE_SHARE) are photographs of a single subject with their own background.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import birefnet
from birefnet.imaging.resize import resample
from birefnet.network.selector import SIDE

from .prompts import true_box
from .scenes import Scene, Sources, compose

NETWORK_SIDE = 320        # pixels: the included checkpoint's input
SIDES = (420, 640)        # pixels: longer side of a composed picture
SINGLE_SHARE = 0.15       # of samples: photographs of a single subject
OVERLAPPING_SHARE = 0.6   # of composed pictures
CONTEXTS = (0.1, 1.2)     # least and largest margin of a crop, as shares of the box's longer side
LEAST_AREA = 0.004        # of a sample: smaller subjects are left out
SUBJECTS = 3              # masks of a sample; missing ones are empty
PART = 100                # samples in a file

Rng = np.random.Generator


@dataclass
class Lessons:
    """n training samples."""

    pictures: np.ndarray  # uint8 [n,SIDE,SIDE,3]
    mattes: np.ndarray    # uint8 [n,SIDE/2,SIDE/2]: the included checkpoint's matte of everything salient
    subjects: np.ndarray  # uint8 [n,SUBJECTS,SIDE/2,SIDE/2]: the visible part of each subject


def make_lessons(folder: Path, sources: Sources, network: birefnet.BiRefNet, seed: int, count: int) -> None:
    """Write at least `count` samples, in files of PART each; existing files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-count // PART)):
        path = folder / f"{number:04d}.npz"
        if path.exists():
            continue
        rng, looks = np.random.default_rng([seed, number]), []
        while len(looks) < PART:
            scene = (single(sources, rng) if rng.random() < SINGLE_SHARE else
                     compose(sources, rng, SIDES, OVERLAPPING_SHARE))
            looks += [look for look in (look_at(scene, None), look_at(scene, draw_crop(scene, rng)))
                      if look is not None]
        large, subjects = (np.stack(part) for part in zip(*looks[:PART]))
        mattes = np.concatenate([matte(network, some) for some in np.array_split(large, PART // 10)])
        pictures = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BOX))
                             for one in large])
        part = path.with_suffix(".part.npz")
        np.savez(part, pictures=pictures, mattes=mattes, subjects=subjects)
        part.replace(path)


def read_lessons(folder: Path) -> Lessons:
    files = [np.load(path) for path in sorted(folder.glob("????.npz"))]
    return Lessons(*(np.concatenate([file[name] for file in files])
                     for name in ("pictures", "mattes", "subjects")))


def single(sources: Sources, rng: Rng) -> Scene:
    """A photograph of a single subject with its own background."""
    pixels = sources.scenes[rng.integers(len(sources.scenes))]
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return Scene(np.ascontiguousarray(pixels[..., :3]), [pixels[..., 3].astype(np.float32) / 255], False,
                 False)


def draw_crop(scene: Scene, rng: Rng) -> tuple[int, int, int, int]:
    """A crop (left, top, right, bottom) around a random subject, with a random margin on each side."""
    alpha = scene.alphas[rng.integers(len(scene.alphas))]
    box = true_box(alpha)
    reach = np.array([rng.uniform(*CONTEXTS)
                      for _ in range(4)]) * box.longer_side
    return (int(max(0, box.left - reach[0])), int(max(0, box.top - reach[1])),
            int(min(alpha.shape[1], box.right + reach[2])), int(min(alpha.shape[0], box.bottom + reach[3])))


def look_at(scene: Scene, crop: tuple[int, int, int, int] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """A sample's picture at the network's size and its subjects; None if it shows none.

    Args:
        scene: the composed picture.
        crop: left, top, right, bottom in pixels; None for the whole picture.
    """
    picture = Image.fromarray(scene.image).resize((NETWORK_SIDE,) * 2, Image.Resampling.BILINEAR, crop)
    subjects = np.zeros((SUBJECTS, SIDE // 2, SIDE // 2), np.uint8)
    for i, alpha in enumerate(scene.alphas):
        half = Image.fromarray(alpha).resize((SIDE // 2, SIDE // 2), Image.Resampling.BILINEAR, crop)
        subjects[i] = np.asarray(half) * 255 + 0.5
    subjects[(subjects > 127).mean((1, 2)) < LEAST_AREA] = 0
    return (np.asarray(picture), subjects) if subjects.any() else None


def matte(network: birefnet.BiRefNet, pictures: np.ndarray) -> np.ndarray:
    """Mattes uint8 [n,SIDE/2,SIDE/2] of pictures uint8 [n,h,w,3]."""
    alpha = birefnet.matte(network, torch.from_numpy(pictures).float() / 255)
    small = resample(alpha[:, None], (SIDE // 2, SIDE // 2))[:, 0]
    return (small * 255 + 0.5).byte().numpy()
