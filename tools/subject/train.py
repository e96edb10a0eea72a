"""Train weights/birefnet-selector.safetensors:  python -m tools.subject.train FOLDER [options]

FOLDER holds the cut-outs in cache/, as `python -m tools.nano FOLDER` packs them (if there are none, those of
photographs alone are packed), the training samples and the run's state, from which it resumes. The encoder
begins as the included checkpoint's; its early layers and the statistics of its batch norms stay.
"""

from __future__ import annotations

import argparse
import copy
import io
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import birefnet
import weights
from birefnet.checkpoint.selector import load_selector, save_selector
from birefnet.device.memory import keep_heap
from birefnet.files.atomic import atomic_write_bytes
from birefnet.matting.predict import normalize_imagenet
from birefnet.matting.subject.prompts import draw_touches
from birefnet.network.selector import SIDE, Selector, measure_distances

from .lessons import Lessons, make_lessons, read_lessons
from .prompts import draw_box, draw_click, draw_scribble
from .scenes import read_sources

HALF = SIDE // 2
PICTURES, PROMPTS_EACH = 8, 4      # in a training step
RATE, ENCODER_SHARE = 1.5e-3, 0.2  # largest learning rate, and the encoder's over it
WARM_UP, DECAY = 50, 1e-3          # steps of warm-up, weight decay
LEAST_RATE_SHARE = 0.005           # of the largest learning rates, at the end
LARGEST_GRADIENT = 1.0             # norm to which gradients are clipped
FAR_WEIGHT = 0.3                   # in the loss, of background far from anything salient
EARLY = ("conv_stem", "bn1", "blocks.0", "blocks.1")  # layers of the encoder that stay
SAVE_EVERY_STEPS = 50
AVERAGE = 0.99                     # decay of the exponential moving average of weights, which is saved
# Shares of prompts by kind; "nothing" is a click on the background.
KINDS = {"click": 0.34, "clicks": 0.1, "box": 0.17, "scribble": 0.2, "mask": 0.16, "nothing": 0.03}
TOGETHER = 0.06                    # of prompts: two subjects at once
NOT_WANTED = 0.25                  # of prompts: with negative points
ALSO_CLICKED = 0.15                # of boxes and masks: with a click
OTHERS_KNOWN = 0.5                 # of coarse masks: with a negative mask of the other subjects
# Of samples: those of which a part is shown, and its least side; those whose matte is the true one.
ZOOMED, LEAST_ZOOM, TRUE_MATTE = 0.5, 0.6, 0.15
PERMUTED = 0.25                    # of samples: those whose colour channels are permuted
RECOLOURED = 0.8                   # of subjects: those of which a part gets other colours
# initial values of `Selector.direct`
DIRECT, DIRECT_BIAS = (0.5, -0.5, 0.5, 0.5, 1.0, 2.0, 5.0, -1.0, 0.0), -3.5
BOX_OFF = 0.06                     # largest error of a box's side, over the box's size

Rng = np.random.Generator


def draw_prompt(subjects: np.ndarray, matte: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw a random prompt for a sample.

    Args:
        subjects: float32 [SUBJECTS,HALF,HALF] in 0..1, the visible part of each.
        matte: float32 [HALF,HALF] in 0..1, of everything salient.
        rng: all randomness.

    Returns:
        Prompts float32 [5,HALF,HALF], see Selector; and the matte that they mean, float32 [1,HALF,HALF].
    """
    there = [i for i in range(len(subjects)) if (subjects[i] > 0.9).sum() > 20]
    maps = np.zeros((5, HALF, HALF), np.float32)
    maps[4] = matte
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    everything = subjects.sum(0).clip(0, 1)
    if not there or kind == "nothing":
        rows, columns = np.nonzero(ndimage.binary_erosion(everything < 0.05, iterations=4))
        if len(rows):
            i = rng.integers(len(rows))
            maps[0] = draw_touches([(columns[i], rows[i])], HALF).numpy()
            return maps, np.zeros((1, HALF, HALF), np.float32)
        there = there or [int(subjects.sum((1, 2)).argmax())]
        kind = "click"
    chosen = int(rng.choice(there))
    several = [chosen]
    if kind in ("clicks", "scribble", "box", "mask") and len(there) > 1 and rng.random() < TOGETHER:
        several = list(rng.choice(there, 2, replace=False))
    target = subjects[several].sum(0).clip(0, 1)
    if kind in ("click", "clicks"):
        points = [draw_click(subjects[i], rng) for i in several]
        points += [draw_click(target, rng) for _ in range(rng.integers(1, 4) if kind == "clicks" else 0)]
        maps[0] = draw_touches(points, HALF).numpy()
    elif kind == "scribble":
        maps[0] = np.max([draw_scribble(subjects[i], rng, width=1 + int(rng.integers(4))) for i in several],
                         0)
    elif kind == "box":
        maps[2] = box_map(target, rng)
    else:
        maps[3] = 2 * coarse(target, rng) - 1
    if kind in ("box", "mask") and rng.random() < ALSO_CLICKED:
        maps[0] = draw_touches([draw_click(target, rng)], HALF).numpy()
    rest = [i for i in there if i not in several]
    if kind == "mask" and rest and rng.random() < OTHERS_KNOWN:  # as when following
        others = coarse(subjects[rest].sum(0).clip(0, 1), rng) > 0.5
        maps[1] = ndimage.binary_erosion(others & (maps[3] < 0), iterations=int(rng.integers(1, 4)))
    elif rng.random() < NOT_WANTED:
        where = subjects[rest].sum(0).clip(0, 1) if rest and rng.random() < 0.8 else 1 - everything
        if (where > 0.9).any():
            maps[1] = draw_touches([draw_click(where, rng) for _ in range(rng.integers(1, 3))], HALF).numpy()
    return maps, target[None]


def recolour_part(picture: Tensor, subject: np.ndarray, rng: Rng) -> Tensor:
    """Give one part of a subject other colours. The parts of a real one (a helmet, a suit, a face) often
    differ more than two subjects do, and those of the recipe's sources seldom.

    Args:
        picture: [1,3,SIDE,SIDE] in 0..1.
        subject: float32 [HALF,HALF] in 0..1; a random wavy line divides it.
        rng: all randomness.
    """
    extent = np.sqrt(subject.sum())
    if extent < 8:
        return picture
    rows, columns = np.mgrid[:HALF, :HALF]
    angle = rng.uniform(0, 2 * np.pi)
    across = ((columns - np.average(columns, weights=subject)) * np.cos(angle)
              + (rows - np.average(rows, weights=subject)) * np.sin(angle)) / extent
    waves = ndimage.gaussian_filter(rng.normal(size=subject.shape), rng.uniform(8, 25))
    line = across + 0.25 * waves / waves.std() + rng.uniform(-0.3, 0.3)
    part = ndimage.gaussian_filter(np.where(line > 0, subject, 0).astype(np.float32), 0.7)
    part = F.interpolate(torch.from_numpy(part)[None, None], picture.shape[2:], mode="bilinear")
    shift = torch.from_numpy(rng.normal(0, 0.16, (3, 1, 1))).float()
    other = picture[:, rng.permutation(3)] * rng.uniform(0.5, 1.2) + shift
    return torch.lerp(picture, other, part).clamp(0, 1)


def box_map(alpha: np.ndarray, rng: Rng) -> np.ndarray:
    """The selector's map of the subject's box, drawn with a random error."""
    box = draw_box(alpha, rng, BOX_OFF)
    made = np.full((HALF, HALF), -1, np.float32)
    made[box.top:box.bottom, box.left:box.right] = 1
    return made


def coarse(alpha: np.ndarray, rng: Rng) -> np.ndarray:
    """A random coarse mask float32 [HALF,HALF] in 0..1: shifted, grown or shrunk, deformed, softened."""
    solid = (alpha > 0.5).astype(np.float32)
    extent = np.sqrt(max(solid.sum(), 1))
    moved = ndimage.shift(solid, rng.normal(0, 0.03 * extent, 2), order=1)
    sigma = rng.uniform(0.01, 0.1) * extent
    wavy = ndimage.gaussian_filter(moved, sigma) + 0.35 * rng.normal() * 0.5
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(rng.normal(size=alpha.shape), 0.12 * extent + 1)
        wavy = wavy + 0.25 * noise / (noise.std() + 1e-6)
    made = (wavy > 0.5).astype(np.float32)
    made = made if made.any() else moved
    return ndimage.gaussian_filter(made, rng.uniform(0, 2)).clip(0, 1)


# --- the run ------------------------------------------------------------------------------------------------


class Batches(Dataset):
    """The batches of steps first .. stop - 1: pictures, normalised, and of PROMPTS_EACH prompts on each the
    maps, the distances, and the mattes that they mean. Each depends on the seed and its step only."""

    def __init__(self, selector: Selector, lessons: Lessons, seed: int, first: int, stop: int) -> None:
        self.selector, self.lessons, self.seed, self.first, self.stop = selector, lessons, seed, first, stop

    def __len__(self) -> int:
        return self.stop - self.first

    @torch.no_grad()
    def __getitem__(self, offset: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if offset >= len(self):
            raise IndexError(offset)
        rng = np.random.default_rng([self.seed, self.first + offset])
        shown = [self.draw_sample(rng) for _ in range(PICTURES)]
        pictures = torch.stack([picture for picture, _, _ in shown])
        pairs = [draw_prompt(subjects, matte, rng) for _, matte, subjects in shown
                 for _ in range(PROMPTS_EACH)]
        prompts, targets = (torch.from_numpy(np.stack(part)) for part in zip(*pairs))
        directions = self.selector.encode(pictures)[1][0]  # of layers that stay
        pictures_each, directions = (x.repeat_interleave(PROMPTS_EACH, 0) for x in (pictures, directions))
        distances = measure_distances(pictures_each, directions, prompts)
        return pictures, prompts, distances, F.avg_pool2d(targets, 2)

    def draw_sample(self, rng: Rng) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """A random sample, mirrored, zoomed into, recoloured, and lit at random: its picture [3,SIDE,SIDE],
        normalised, its matte [HALF,HALF], and its subjects [SUBJECTS,HALF,HALF]."""
        lessons, number = self.lessons, int(rng.integers(len(self.lessons.pictures)))
        picture = torch.from_numpy(lessons.pictures[number]).permute(2, 0, 1)[None].float() / 255
        masks = torch.from_numpy(np.concatenate([lessons.mattes[number][None], lessons.subjects[number]]))
        masks = masks[None].float() / 255
        if rng.random() < ZOOMED:
            side = int(rng.uniform(LEAST_ZOOM, 1) * HALF)
            top, left = (int(rng.integers(HALF - side + 1)) for _ in range(2))
            picture, masks = (
                F.interpolate(x[:, :, k * top:k * (top + side), k * left:k * (left + side)], x.shape[2:],
                              mode="bilinear", align_corners=False) for x, k in ((picture, 2), (masks, 1)))
        if rng.random() < 0.5:
            picture, masks = picture.flip(3), masks.flip(3)
        if rng.random() < TRUE_MATTE:
            masks[:, 0] = masks[:, 1:].sum(1).clamp(0, 1)
        light = torch.from_numpy(rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, (3, 1, 1))).float()
        masks = masks[0].numpy()
        for subject in masks[1:]:
            if rng.random() < RECOLOURED:
                picture = recolour_part(picture, subject, rng)
        if rng.random() < PERMUTED:
            picture = picture[:, rng.permutation(3)]
        return normalize_imagenet((picture * light).clamp(0, 1))[0], masks[0], masks[1:]


def make_selector(network: birefnet.BiRefNet) -> Selector:
    """A selector with fresh weights and the encoder of a network on EfficientNet-Lite2 (plain form)."""
    selector = Selector()
    own = {name for name in selector.state_dict() if in_encoder(name)}
    state = {name: tensor for name, tensor in network.bb.state_dict().items() if name in own}
    selector.load_state_dict(state, strict=False)
    with torch.no_grad():
        selector.direct.weight.copy_(torch.tensor(DIRECT).view(1, -1, 1, 1))
        selector.direct.bias.fill_(DIRECT_BIAS)
    for name, parameter in selector.named_parameters():
        # The encoder's depthwise kernels stay too: their gradients took a third of a step's time.
        depthwise = in_encoder(name) and parameter.shape[1:2] == (1,)
        parameter.requires_grad_(not name.startswith(EARLY) and not depthwise)
    return selector.eval()


def in_encoder(name: str) -> bool:
    return name.startswith(("conv_stem", "bn1", "blocks"))


def measure_loss(selector: Selector, pictures: Tensor, prompts: Tensor, distances: Tensor, targets: Tensor
                 ) -> Tensor:
    """The loss of one batch: weighted cross-entropy and soft Jaccard distance."""
    with torch.autocast("cpu", torch.bfloat16):
        features = [[x.repeat_interleave(PROMPTS_EACH, 0) for x in part]
                    for part in selector.encode(pictures)]
        logits = selector(features, prompts, distances).float()
    weight = FAR_WEIGHT + F.avg_pool2d(prompts[:, 4:5], 2) + targets
    entropy = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight).mean((1, 2, 3))
    found = logits.sigmoid()
    both = (found * targets).sum((1, 2, 3))
    jaccard = 1 - (both + 1) / ((found + targets).sum((1, 2, 3)) - both + 1)
    return (2 * entropy + jaccard * (targets.amax((1, 2, 3)) > 0)).mean()


class Run:
    """A selector in training: its optimiser, its averaged weights, and the file FOLDER/state.pt of all that.

    Args:
        folder: holds the state, from which a run resumes, and the selector so far.
        steps: of the whole run.
        begin: a selector's file, whose weights are trained on; None: the decoder's are new.
        rate: largest learning rate.

    Attributes:
        step: steps done so far.

    Raises:
        ValueError: the state is of a run with other options.
    """

    def __init__(self, folder: Path, steps: int, begin: Path | None = None, rate: float = RATE) -> None:
        self.folder, self.steps, self.step = folder, steps, 0
        selector = make_selector(birefnet.load(weights.NANO, form="plain"))
        self.selector = selector.to(memory_format=torch.channels_last)
        if begin is not None:
            selector.load_state_dict(load_selector(begin).state_dict())
        named = {name: weight for name, weight in selector.named_parameters() if weight.requires_grad}
        self.optimizer = torch.optim.AdamW(
            [{"params": [weight for name, weight in named.items() if in_encoder(name) == encoder],
              "peak": rate * share} for encoder, share in ((False, 1), (True, ENCODER_SHARE))],
            rate, weight_decay=DECAY)
        self.learning = list(named.values())
        self.average = [parameter.detach().clone() for parameter in self.learning]
        self.options = {"steps": steps, "begin": str(begin), "rate": rate}
        if self._state.exists():
            saved = torch.load(self._state, weights_only=True)
            if saved["options"] != self.options:
                raise ValueError(f"Take another folder, or the options of the run in {self._state}: "
                                 f"{saved['options']}, not {self.options}")
            selector.load_state_dict(saved["selector"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.average, self.step = saved["average"], saved["step"]

    @property
    def _state(self) -> Path:
        return self.folder / "state.pt"

    def learn(self, batch: tuple[Tensor, ...]) -> float:
        """Do one step; return its loss."""
        share = min(1, (self.step + 1) / WARM_UP) * 0.5 * (1 + np.cos(np.pi * self.step / self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = float(max(share, LEAST_RATE_SHARE)) * group["peak"]
        loss = measure_loss(self.selector, *batch)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learning, LARGEST_GRADIENT)
        self.optimizer.step()
        # At first the average follows the weights closely.
        keep = min(AVERAGE, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.learning], 1 - keep)
        self.step += 1
        return loss.item()

    def save(self) -> None:
        """Save the state, and the selector with its averaged weights."""
        state = io.BytesIO()
        torch.save({"selector": self.selector.state_dict(), "optimizer": self.optimizer.state_dict(),
                    "average": self.average, "step": self.step, "options": self.options}, state)
        atomic_write_bytes(self._state, state.getvalue())
        save_selector(self.averaged(), self.folder / "birefnet-selector.safetensors")

    def averaged(self) -> Selector:
        """A copy of the selector with its averaged weights."""
        selector = copy.deepcopy(self.selector)
        own = [parameter.data for parameter in selector.parameters() if parameter.requires_grad]
        torch._foreach_copy_(own, self.average)
        return selector


def train(
    folder: Path, lessons: Lessons, steps: int, seed: int, workers: int = 1, begin: Path | None = None,
    rate: float = RATE,
) -> Selector:
    """Train a selector up to `steps` steps; resumes from FOLDER/state.pt, see `Run`."""
    torch.manual_seed(seed)
    keep_heap()
    run = Run(folder, steps, begin, rate)
    first, start, losses = run.step, time.monotonic(), []
    batches = DataLoader(Batches(copy.deepcopy(run.selector), lessons, seed, first, steps), batch_size=None,
                         num_workers=workers)
    for batch in batches:
        losses.append(run.learn(batch))
        if run.step % SAVE_EVERY_STEPS == 0 or run.step == steps:
            seconds = (time.monotonic() - start) / (run.step - first)
            print(f"{run.step}: {np.mean(losses):.4f}, {seconds:.2f} s a step", flush=True)
            losses.clear()
            run.save()
    return run.averaged()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.subject.train", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lessons", type=int, default=8900)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--begin", type=Path, help="a selector to train on; without it the decoder is new")
    parser.add_argument("--rate", type=float, default=RATE, help="largest learning rate")
    args = parser.parse_args()
    make_lessons(args.folder / "lessons", read_sources(args.folder / "cache", "learned"),
                 birefnet.load(weights.NANO), args.seed, args.lessons)
    train(args.folder, read_lessons(args.folder / "lessons"), args.steps, args.seed,
          begin=args.begin, rate=args.rate)
    print(f"written: {args.folder / 'birefnet-selector.safetensors'}")


if __name__ == "__main__":
    main()
