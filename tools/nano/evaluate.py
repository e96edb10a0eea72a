"""How good a checkpoint's mattes are: `python -m tools.nano.evaluate CHECKPOINT PHOTOS`.

PHOTOS holds one folder per set: SET/im/NAME.* and SET/gt/NAME.png, the alpha, of the same size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from birefnet import BiRefNet, load, matte
from birefnet.evaluation.matting import connectivity_error, gradient_error

PICTURES = Path(__file__).parents[2] / "tests/data"  # where bfloat16 is measured
SHIFT = 0.25  # what the off-centre measurement adds to a picture's height and width


class Score(NamedTuple):
    """Means over a set: IoU of alpha > 0.5, absolute, gradient and connectivity error of alpha (the latter
    two as in birefnet.evaluation.matting, of whole pictures), and IoU with the picture off-centre in its
    mirror image (all four corners)."""

    iou: float
    error: float
    gradient: float
    connectivity: float
    shifted: float
    pictures: int


def iou(alpha: Tensor, truth: Tensor) -> float:
    """Intersection over union of alpha > 0.5 and truth > 0.5; 1 where both are empty."""
    a, b = alpha > 0.5, truth > 0.5
    either = (a | b).sum().item()
    return (a & b).sum().item() / either if either else 1.0


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """(picture, truth) paths of one set."""
    found = [(image, folder / "gt" / f"{image.stem}.png") for image in sorted((folder / "im").iterdir())]
    if not found:
        raise FileNotFoundError(f"{folder / 'im'} holds no pictures")
    return found


def off_centre(alpha_of: Callable[[Tensor], Tensor], image: Tensor, corner: int) -> Tensor:
    """Alpha [H, W] of an image [H, W, 3] that reflection padding on two sides pushed towards corner 0..3."""
    height, width = image.shape[:2]
    down, right = int(SHIFT * height), int(SHIFT * width)
    top, left = down * (corner & 1), right * (corner >> 1)
    padded = F.pad(image.permute(2, 0, 1)[None], (left, right - left, top, down - top), mode="reflect")
    return alpha_of(padded[0].permute(1, 2, 0))[top:top + height, left:left + width]


def read(path: Path, mode: str) -> Tensor:
    """float [H, W] or [H, W, 3] in 0..1."""
    return torch.from_numpy(np.asarray(Image.open(path).convert(mode), np.float32) / 255)


def measure(model: BiRefNet, folder: Path, size: int | None = None, largest: int = 1024) -> Score:
    """The score on one set; pictures are reduced to `largest` pixels a side first, which the network never
    exceeds."""
    scores = []
    for picture, truth in pairs(folder):
        image = reduced(read(picture, "RGB"), largest)
        mask = reduced(read(truth, "L")[..., None], largest)[..., 0]
        alpha_of = lambda image: matte(model, image[None], size)[0]  # noqa: E731
        alpha = alpha_of(image)
        moved = np.mean([iou(off_centre(alpha_of, image, corner), mask) for corner in range(4)])
        both = alpha.numpy(), mask.numpy()
        scores.append((iou(alpha, mask), (alpha - mask).abs().mean().item(), gradient_error(*both),
                       connectivity_error(*both), moved))
    return Score(*np.mean(scores, 0).tolist(), len(scores))


def measure_bfloat16(checkpoint: Path, pictures: list[Path], size: int | None = None) -> tuple[float, float]:
    """Mean and 99.9th percentile of how far alphas in bfloat16 are from those in float32."""
    models = [load(checkpoint, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    frames = [read(path, "RGB")[None] for path in pictures]
    apart = torch.cat([(matte(models[0], frame, size) - matte(models[1], frame, size)).abs().flatten()
                       for frame in frames])
    return apart.mean().item(), float(np.percentile(apart.numpy(), 99.9))


def reduced(image: Tensor, largest: int) -> Tensor:
    scale = largest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [round(side * scale) for side in image.shape[:2]]
    x = F.interpolate(image.permute(2, 0, 1)[None], size, mode="bilinear", antialias=True)
    return x[0].permute(1, 2, 0)


def subject_free(side: int = 640, seed: int = 0) -> dict[str, Tensor]:
    """Pictures without a subject, [side, side, 3]: flat colours, gradients, noise, stripes, checks, a
    horizon."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    grain = torch.rand(side, side, 3, generator=generator)
    coarse = F.interpolate(torch.rand(1, 3, 24, 24, generator=generator), (side, side), mode="bicubic")
    planes = {"ramp": x, "slope": (x + y) / 2, "stripes": (x * 60).sin() * 0.2 + 0.5,
              "checks": ((x * 20).floor() + (y * 20).floor()) % 2 * 0.4 + 0.3,
              "horizon": (y > 0.55) * 0.3 + 0.3}
    tint = torch.tensor([0.8, 0.9, 1.0])
    pictures = {name: plane[..., None] * tint for name, plane in planes.items()}
    for name, value in (("black", 0.0), ("grey", 0.5), ("white", 1.0)):
        pictures[name] = torch.full((side, side, 3), value)
    pictures["red"] = torch.tensor([0.8, 0.1, 0.1]).expand(side, side, 3)
    pictures["grain"] = grain
    pictures["clouds"] = coarse[0].permute(1, 2, 0).clamp(0, 1)
    return pictures


def seconds(model: BiRefNet, image: Tensor, repeats: int = 5) -> float:
    """Median time from a decoded picture [H, W, 3] to its alpha."""
    matte(model, image[None])
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        matte(model, image[None])
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.nano.evaluate", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, help="network side instead of the checkpoint's own")
    args = parser.parse_args()
    model = load(args.checkpoint)
    for folder in sorted(path.parent for path in args.photos.glob("*/im")):
        score = measure(model, folder, args.size)
        print(f"{folder.name:12} {score.pictures:3} pictures  IoU {score.iou:.3f}  error {score.error:.4f}  "
              f"gradient {score.gradient:.2f}  connectivity {score.connectivity:.2f}  off-centre "
              f"{score.shifted:.3f}", flush=True)
    mean, highest = measure_bfloat16(args.checkpoint, sorted(PICTURES.glob("*.jpg")), args.size)
    print(f"bfloat16 against float32: mean {mean:.4f}, 99.9th percentile {highest:.4f}")
    covered = {name: matte(model, image[None], args.size).mean().item()
               for name, image in subject_free().items()}
    print("subject-free coverage: " + ", ".join(f"{name} {value:.3f}" for name, value in covered.items()))
    print(f"{seconds(model, torch.rand(1080, 1620, 3)):.3f} s for 1620×1080 on {torch.get_num_threads()} "
          "threads")


if __name__ == "__main__":
    main()
