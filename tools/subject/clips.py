"""Measure how well a subject is followed through clips:  python -m tools.subject.clips CACHE [options]

Twelve clips of 60 frames are composed of cut-outs (see measure.py). A click in one frame chooses the subject,
which is followed forwards and backwards from there. For each clip: the mean IoU over the frames in which the
subject is in view, the share of the other frames whose matte is empty, and the longest run of frames that
show another subject instead. --flicker adds dtSSD near the subject's edge, with following and without a
prompt, both smoothed by 0.5. --photos FOLDER adds real clips, each with its frames in im/ and mattes in gt/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import birefnet
import weights
from birefnet import video
from birefnet.checkpoint.selector import load_selector
from birefnet.matting import subject
from birefnet.matting.temporal import Smoother

from .prompts import draw_click, iou
from .scenes import Cutout, Rng, Sources, lay, make_background, put, put_colours, read_sources, visible

FRAMES, SHAPE = 60, (400, 640)  # of a clip; (H, W) in pixels
KINDS = ("crossing", "crossing", "crossing", "behind", "behind", "leaving", "leaving", "double", "double",
         "shaking", "shaking", "cut")
IN_VIEW = 0.002    # least share of the picture that a subject in view covers
SMOOTHING = 0.5    # strength of Smoother, for --flicker
COLUMNS = 10       # of a contact sheet
BAND = 6           # pixels on either side of the true edge in which flicker is measured

# A picture, uint8 [H,W,3], and the visible part of each subject's alpha, float32 [H,W]; the first is chosen.
Frame = tuple[np.ndarray, list[np.ndarray]]
# From the time, 0..1, to the centre's x and y as shares of the picture's sides, and a scale.
Motion = Callable[[float], tuple[float, float, float]]


def make_clip(sources: Sources, rng: Rng, kind: str) -> list[Frame]:
    """Compose a clip of FRAMES frames, in which the chosen subject moves and changes its size a little.

    Args:
        sources: cut-outs and backgrounds.
        rng: source of all randomness.
        kind: one of KINDS.
    """
    one, other = (sources.cutouts[i] for i in rng.choice(len(sources.cutouts), 2, replace=False))
    if kind == "double":
        other = one
    height = rng.uniform(0.4, 0.5)
    y, drift = rng.uniform(0.45, 0.6), rng.uniform(-0.05, 0.05)
    grow = rng.uniform(0.9, 1.15)
    own: Motion = lambda t: (0.25 + 0.5 * t, y + drift * np.sin(6 * t), 1 + (grow - 1) * t)  # noqa: E731
    opposite: Motion = lambda t: (0.8 - 0.55 * t, 1 - y + 0.1, 1)  # noqa: E731
    front = [own, opposite]
    if kind == "double":
        front = [lambda t: (0.28 + 0.1 * np.sin(4 * t), 0.5, 1),
                 lambda t: (0.72 - 0.1 * np.sin(3 * t), 0.55, 0.95)]
    if kind == "behind":  # an object passes in front and hides most or all of it
        front = [lambda t: (0.5 + 0.1 * np.sin(3 * t), 0.5, 0.7), lambda t: (-0.2 + 1.4 * t, 0.5, 1.5)]
    if kind == "leaving":
        front = [lambda t: (0.5 + 0.85 * np.sin(np.pi * 2 * t) * (1 if t < 0.5 else 0.4), y, 1),
                 lambda t: (0.3 + 0.1 * t, 0.35, 0.8)]
    if kind == "shaking":
        front = [lambda t: (0.35 + 0.1 * t, 0.5, 1), lambda t: (0.75 - 0.1 * t, 0.5, 1)]
    shake = rng.normal(0, 0.012, (FRAMES, 2)) if kind == "shaking" else np.zeros((FRAMES, 2))
    backgrounds = [enlarge(make_background(sources, rng, (800, 801))) for _ in range(2)]
    swap = FRAMES // 2 if kind == "cut" else FRAMES
    made = []
    for i in range(FRAMES):
        t = i / (FRAMES - 1)
        places = [path(t) for path in front]
        if i >= swap:
            places = [(1 - x, y, 0.8 * s) for x, y, s in places]
        background = backgrounds[i >= swap]
        top, left = (int(40 + (30 * np.sin(2 * t) if axis else 0) + shake[i, axis] * 640) for axis in (0, 1))
        image = background[top:top + SHAPE[0], left:left + SHAPE[1]]
        layers = [insert(cutout, place, height, shake[i]) for cutout, place in zip((one, other), places)]
        alphas = visible([alpha for _, alpha in layers])
        for colours, alpha in layers:
            image = lay(image, colours, alpha)
        noise = rng.standard_normal(image.shape, np.float32) * 0.008
        made.append((((image + noise).clip(0, 1) * 255 + 0.5).astype(np.uint8), alphas))
    return made


def enlarge(background: np.ndarray) -> np.ndarray:
    """Resize a background to 160 pixels more than a frame along each axis, to move the camera over it."""
    image = Image.fromarray((background * 255).astype(np.uint8)).resize((SHAPE[1] + 160, SHAPE[0] + 160))
    return np.asarray(image, np.float32) / 255


def insert(cutout: Cutout, place: tuple[float, float, float], height: float, shake: np.ndarray
           ) -> tuple[np.ndarray, np.ndarray]:
    """Place a cut-out in an empty frame: colours multiplied by alpha [H,W,3], and alpha [H,W].

    Args:
        cutout: the subject.
        place: its centre's x and y as shares of the frame's sides, and a scale.
        height: its size at scale 1 (root of its box's area) as a share of the frame's height.
        shake: the camera's offset along y and x, as a share of 640 pixels.
    """
    x, y, scale = place
    h, w = cutout.pixels.shape[:2]
    scale *= height * SHAPE[0] / np.sqrt(h * w)
    pixels = cutout.pixels.astype(np.float32) / 255
    at = (SHAPE, scale, x * SHAPE[1] - shake[1] * 640, y * SHAPE[0] - shake[0] * 640)
    return put_colours(pixels, *at), put(pixels[..., 3:], *at)[..., 0]


def read_clip(folder: Path) -> list[Frame]:
    """Read the frames in im/ with their mattes in gt/, in order of their names."""
    frames = []
    for path in sorted((folder / "im").iterdir()):
        with Image.open(path) as image, Image.open(folder / "gt" / f"{path.stem}.png") as mask:
            frames.append((np.asarray(image.convert("RGB")),
                           [np.asarray(mask.convert("L"), np.float32) / 255]))
    return frames


# --- measures -----------------------------------------------------------------------------------------------


def follow(ask: subject.AlphaOf, selector, frames: list[Frame], start: int,
           click: tuple[int, int]) -> list[Tensor]:
    """Return the subject's alpha in every frame, from a click (x, y) in frame `start`, as Matte Video."""
    pictures = torch.cat([as_picture(image) for image, _ in frames])
    following = video.Following(
        partial(video.TensorClip, pictures, Fraction(25)),
        partial(subject.select, ask, selector, prompt=subject.Prompt(points=(click,))),
        partial(subject.Follower, ask, selector), start,
        find_parting=partial(subject.find_parting, ask, selector, [click]))
    try:
        return [alpha for _, alpha in following(iter(pictures))]
    except video.VideoError:  # nothing is under the click
        return list(torch.zeros(len(frames), 1, *pictures.shape[1:3]))


def as_picture(image: np.ndarray) -> Tensor:
    """Convert uint8 [H,W,3] to float32 [1,H,W,3] in 0..1."""
    return torch.from_numpy(image).float().div(255)[None]


def flicker(alphas: list[Tensor], truths: list[Tensor]) -> float:
    """Return dtSSD (Erofeev et al., BMVC 2015), times 100, of the pixels within BAND of the true edge.

    That is the root of the mean squared difference between the changes of alpha and those of the truth, from
    one frame to the next. The change along the optical flow alone would favour blurred edges: of the first
    "double" it is .0103 for the followed subject, .0073 for the softer mattes of whole frames, and .0111 for
    the truth.
    """
    total, count = 0.0, 0.0
    for i in range(1, len(alphas)):
        near = sum(F.max_pool2d(torch.stack([truth, 1 - truth]), 2 * BAND + 1, 1, BAND).amin(0)
                   for truth in truths[i - 1:i + 1]) > 0.5
        wrong = (alphas[i] - alphas[i - 1]) - (truths[i] - truths[i - 1])
        total += float((wrong.square() * near).sum())
        count += float(near.sum())
    return 100 * (total / max(count, 1.0))**0.5


def smooth(alphas: list[Tensor], pictures: list[Tensor]) -> list[Tensor]:
    """Smooth alpha over time, see SMOOTHING."""
    smoother = Smoother(SMOOTHING)
    return [smoother(picture, alpha) for picture, alpha in zip(pictures, alphas)]


def score(found: list[Tensor], frames: list[Frame]) -> dict[str, float]:
    """Return the measures of a clip, see the module's docstring."""
    ious, absent, run, longest = [], [], 0, 0
    for alpha, (_, truths) in zip(found, frames):
        alpha, own = alpha[0].numpy(), truths[0]
        if (own > 0.5).mean() < IN_VIEW:
            absent.append(float((alpha > 0.5).mean() < IN_VIEW))
            mine = 0.0
        else:
            ious.append(iou(alpha, own))
            mine = ious[-1]
        wrong = any(iou(alpha, other) > max(mine, 0.1) for other in truths[1:])
        run = run + 1 if wrong else 0
        longest = max(longest, run)
    return {"iou": float(np.mean(ious)), "absent": float(np.mean(absent)) if absent else 1.0,
            "wrong run": longest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--selector", type=Path, default=weights.SELECTOR)
    parser.add_argument("--clips", type=int, nargs="*", help="numbers of the clips to measure, from 0")
    parser.add_argument("--flicker", action="store_true", help="measure flicker too; twice as long")
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, help="folder for a contact sheet of each clip")
    args = parser.parse_args()
    network, selector = birefnet.load(weights.NANO), load_selector(args.selector)
    sources = read_sources(args.cache, "held out")
    print("| clip | IoU | nothing where it is absent | longest run of another | seconds a frame |"
          + " flicker | without a prompt |" * args.flicker)
    print("|---|---|---|---|---|" + "---|---|" * args.flicker)
    rows = []
    numbers = range(len(KINDS)) if args.clips is None else args.clips
    for name, number in [*((KINDS[i], i) for i in numbers), *((folder, None) for folder in args.photos)]:
        rng = np.random.default_rng([args.seed, 100 if number is None else number])
        frames = read_clip(name) if number is None else make_clip(sources, rng, name)
        there = [i for i, (_, truths) in enumerate(frames) if (truths[0] > 0.5).mean() > 8 * IN_VIEW]
        start = int(rng.choice(there))
        click = draw_click(frames[start][1][0], rng)

        def ask(pictures: Tensor) -> Tensor:
            return birefnet.matte(network, pictures)

        began = time.process_time()
        found = follow(ask, selector, frames, start, click)
        seconds = (time.process_time() - began) / len(frames)
        row = score(found, frames) | {"seconds": seconds}
        if args.flicker:
            pictures = [as_picture(image) for image, _ in frames]
            truths = [torch.from_numpy(truths[0])[None] for _, truths in frames]
            everything = [ask(picture) for picture in pictures]
            row["flicker"], row["unprompted"] = (flicker(smooth(alphas, pictures), truths)
                                                 for alphas in (found, everything))
        rows.append(row)
        label = getattr(name, "name", name)
        print(line(f"{label}, from frame {start}", row), flush=True)
        if args.out is not None:
            sheet(args.out / f"{label}_{number}.jpg", frames, found)
    mean = {key: (max if key == "wrong run" else np.mean)([row[key] for row in rows]) for key in rows[0]}
    print(line("mean (of the runs the longest)", mean))


def line(label: str, row: dict[str, float]) -> str:
    """Format a row of the table."""
    cells = [label, f"{row['iou']:.3f}", f"{row['absent']:.0%}", f"{row['wrong run']}",
             f"{row['seconds']:.2f}"]
    return f"| {' | '.join(cells + [f'{row[key]:.2f}' for key in ('flicker', 'unprompted') if key in row])} |"


def sheet(path: Path, frames: list[Frame], found: list[Tensor]) -> None:
    """Save a contact sheet of all frames, darkened outside the subject that was found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = []
    for (image, _), alpha in zip(frames, found):
        shown = image * (0.25 + 0.75 * alpha[0].numpy()[..., None])
        tiles.append(np.asarray(Image.fromarray(shown.astype(np.uint8)).resize((192, 120))))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[i:i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    Image.fromarray(np.vstack(rows)).save(path, quality=80)


if __name__ == "__main__":
    main()
