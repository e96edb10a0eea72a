"""Training from scratch on composites: deterministic data, resumable state, exported averaged weights."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..checkpoint import save
from ..config import Config
from ..inference import normalized
from ..network import BiRefNet
from .nano.composite import pair
from .losses import WEIGHTS, total_loss
from .nano.cache import Pictures

# The build of weights/birefnet-nano.safetensors: PVT v2 b0 with narrower MLPs, plain ASPP, residual decoder blocks.
NANO = Config(family="pvt_v2", widths=(32, 64, 160, 256), depths=(2, 2, 2, 2), heads=(1, 2, 5, 8),
              multi_scale="none", attention="plain", inner=64, branch=48, patch_inner=16, residual=True,
              size=(384, 384), task="Anything simple: quick cut-outs")
DECAY = 0.01       # AdamW's, of weights but not of biases and norms
CLIP = 20.0        # largest gradient norm
AVERAGE = 0.998    # of the exponentially averaged weights, which are what is exported
GAIN = 1.5         # of exported logits: after so short a training they are timid; 2 costs bfloat16 its precision


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run's numbers, beside the pictures."""

    steps: int
    batch: int = 8
    seed: int = 0
    rate: float = 1e-3                 # peak learning rate of AdamW, reached after `warm_up` steps, then a cosine
    warm_up: int = 150
    sizes: tuple[tuple[float, int], ...] = ((0.5, 160), (0.97, 256), (1.0, 320))  # until this share of steps: side

    def size(self, step: int) -> int:
        return next(side for share, side in self.sizes if step < share * self.steps or share >= 1)

    def rate_at(self, step: int) -> float:
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Composites(Dataset):
    """Item `step`: the half batch that is new at this step, images uint8 [n,3,s,s] and alphas uint8 [n,1,s,s].

    Making a composite costs about as much as learning from it, so every one is used twice: in the step that it is new
    in, and mirrored with other colours in the next.
    """

    def __init__(self, folder: Path, plan: Plan, start: int) -> None:
        self.folder, self.plan, self.start = folder, plan, start

    def __len__(self) -> int:
        return self.plan.steps - self.start

    def __getitem__(self, offset: int) -> tuple[Tensor, Tensor]:
        self.pictures = getattr(self, "pictures", None) or Pictures(self.folder)  # opened in the worker
        step, count = self.start + offset, self.plan.batch // 2
        pairs = [pair(self.pictures, self.plan.seed, step * count + i, self.plan.size(max(step, 0)))
                 for i in range(count)]
        images, alphas = zip(*pairs)
        return (torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images]),
                torch.stack([torch.from_numpy(alpha)[None] for alpha in alphas]))


def batches(folder: Path, plan: Plan, start: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images [B,3,s,s] and alphas [B,1,s,s] in 0..1 of step `start` and on."""
    data = Composites(folder, plan, max(start - 1, 0))
    loader = DataLoader(data, batch_size=None, num_workers=workers, prefetch_factor=6 if workers else None,
                        worker_init_fn=politely)
    before = None
    for step, (images, alphas) in enumerate(loader, data.start):
        fresh = images.float() / 255, alphas.float() / 255
        if step >= start:
            again = before is not None and before[0].shape == fresh[0].shape
            yield tuple(map(torch.cat, zip(fresh, mirrored(*before, plan.seed * 1_000_003 + step)))) if again else fresh
        before = fresh


def mirrored(images: Tensor, alphas: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Left for right, each image's colours multiplied by gains near 1."""
    gains = 1 + 0.15 * torch.randn(len(images), 3, 1, 1, generator=torch.Generator().manual_seed(seed))
    return (images.flip(3) * gains).clamp(0, 1), alphas.flip(3)


def politely(worker: int) -> None:
    """Data workers give way to the training process, where the system knows how."""
    if hasattr(os, "nice"):
        os.nice(5)


class Run:
    """A network being trained: its weights, their average, the optimiser and the step."""

    def __init__(self, config: Config, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.step = plan, 0
        self.model = BiRefNet(config).initialize().train()
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # the authors' 0.5 blurs what a network this small draws
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        gains = [p for p in self.model.parameters() if p.ndim == 1]
        weights = [p for p in self.model.parameters() if p.ndim > 1]
        self.optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": DECAY},
                                            {"params": gains, "weight_decay": 0.0}], fused=True)

    def learn(self, images: Tensor, alphas: Tensor) -> float:
        """One step on images and alphas in 0..1; its loss."""
        images = normalized(images, self.model.config)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        with torch.autocast(images.device.type, torch.bfloat16):
            outputs = self.model.forward_train(images)
        outputs = type(outputs)(outputs.logits.float(), [x.float() for x in outputs.side],
                                [x.float() for x in outputs.gradient])
        loss = total_loss(outputs, images, alphas, WEIGHTS["general"])
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.step}; lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.step += 1
        self.follow()
        return loss.item()

    @torch.no_grad()
    def follow(self) -> None:
        """Move the averaged weights a little towards the present ones, faster at the start."""
        keep = min(AVERAGE, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.average.state_dict().values(), self.model.state_dict().values()):
            mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)

    def store(self, path: Path) -> None:
        """Everything `restore` needs to go on with the same numbers; the old file stays until the new one is whole."""
        part = path.with_suffix(".part")
        torch.save({"step": self.step, "model": self.model.state_dict(), "average": self.average.state_dict(),
                    "optimizer": self.optimizer.state_dict()}, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def train(pictures: Path, out: Path, plan: Plan, config: Config = NANO, *, metadata: dict[str, str] | None = None,
          workers: int = 1, every: int = 200, report: Callable[[str], None] = print) -> float:
    """Train to the plan's end, or go on from `out`/state.pt; the mean loss of the last steps.

    Every `every` steps and at the end, out/state.pt (to resume) and out/birefnet.safetensors (averaged weights,
    16-bit) are replaced as whole files.
    """
    out.mkdir(parents=True, exist_ok=True)
    state, run = out / "state.pt", Run(config, plan)
    if state.exists():
        run.restore(state)
        report(f"resumed at step {run.step}")
    recent: list[float] = []
    began = time.monotonic()
    for images, alphas in batches(pictures, plan, run.step, workers):
        recent = [*recent[-19:], run.learn(images, alphas)]
        if run.step % 20 == 0:
            report(f"step {run.step}/{plan.steps} size {images.shape[-1]} rate {plan.rate_at(run.step):.2e} "
                   f"loss {sum(recent) / len(recent):.3f} {time.monotonic() - began:.0f}s")
        if run.step % every == 0 or run.step == plan.steps:
            run.store(state)
            save(surer(run.average), out / "birefnet.safetensors", metadata or {}, dtype=torch.float16)
    return sum(recent) / max(1, len(recent))


def surer(model: BiRefNet) -> BiRefNet:
    """A copy whose logits are GAIN times as large: the same outline at 0.5, with less haze on either side."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for values in model.decoder.conv_out1.parameters():
            values *= GAIN
    return model
