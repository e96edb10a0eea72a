"""A run's settings: task, sizes, rates, phases. With pictures and initial network they determine its result.

Does not import PyTorch, so that the command line starts quickly.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..network.sides import MAX_SIDE, MIN_SIDE, STRIDE

if TYPE_CHECKING:
    import numpy as np

AUGMENTATIONS = ("flip", "enhance", "rotate", "pepper", "crop")  # the authors' names; see data/augment.py
OPTIMIZERS = ("adamw", "muon")
BATCH = 4             # pictures per step; the tasks' learning rates are for so many
FINAL = 0.1           # share of the steps, at the end, without cross-entropy
AVERAGE = 0.998       # decay of the averaged weights, per step
LAST_RATE = 0.01      # learning rate at the end of a cosine, as a share of the peak


class Task(NamedTuple):
    """What a checkpoint is for, and how the authors train it."""

    purpose: str                       # what it is for, as users see it
    rate: float                        # AdamW's learning rate at a batch of BATCH
    augmentations: tuple[str, ...] = ("flip", "enhance", "rotate", "pepper")


# Pepper noise is for binary masks only: in mattes, single pixels of 0 or 1 are errors.
TASKS = {
    "general": Task("Anything", 1e-5),
    "dis": Task("Fine structure: grids, holes, cracks, wires", 1e-4),
    "cod": Task("Camouflaged subjects: animals that blend into their surroundings", 1e-5),
    "hrsod": Task("Whatever catches the eye first (salient objects)", 1e-5),
    "matting": Task("Hair, fur, glass: soft edges", 1e-5, ("flip", "enhance", "rotate")),
}


def default_rate(task: str, batch: int) -> float:
    """The task's learning rate, times √(batch / BATCH)."""
    return TASKS[task].rate * math.sqrt(batch / BATCH)


class Size(NamedTuple):
    """Network sides in pixels, multiples of 32; a range from which each batch's size is drawn."""

    lowest: tuple[int, int]   # height, width
    highest: tuple[int, int]

    @classmethod
    def fixed(cls, height: int, width: int) -> Size:
        """One size for all batches."""
        return cls((height, width), (height, width))

    @classmethod
    def parse(cls, text: str) -> Size:
        """Parse "512", "2560x1440" (width × height) or "512-1536" (a range of sides). Raises ValueError."""
        found = re.fullmatch(r"(\d+)(?:([x×-])(\d+))?", text.lower())
        first, joint, second = found.groups() if found else (None, None, None)
        sides = [int(side) for side in (first, second) if side]
        if not sides or any(side % STRIDE or not MIN_SIDE <= side <= MAX_SIDE for side in sides):
            raise ValueError(f"expected N, WIDTHxHEIGHT or LOWEST-HIGHEST in multiples of {STRIDE} from "
                             f"{MIN_SIDE} to {MAX_SIDE}, got {text}")
        low, high = sides[0], sides[-1]
        if joint != "-":
            return cls.fixed(high, low)
        if low >= high:
            raise ValueError(f"expected the lower side first, got {text}")
        return cls((low, low), (high, high))

    @property
    def single(self) -> tuple[int, int] | None:
        """(height, width), or None for a range."""
        return self.highest if self.lowest == self.highest else None

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw a random (height, width); the sides are independent."""
        height, width = (int(rng.integers(low // STRIDE, high // STRIDE + 1)) * STRIDE
                         for low, high in zip(self.lowest, self.highest))
        return height, width

    def __str__(self) -> str:
        if self.single is None:
            return f"{self.lowest[0]}-{self.highest[0]}"
        height, width = self.highest
        return str(height) if height == width else f"{width}x{height}"


class Phase(NamedTuple):
    """A part of a run: its share of the steps, 0..1, and the network's size."""

    share: float
    size: Size


@dataclass(frozen=True)
class TrainingPlan:
    """The settings of a run. Runs with equal plans, pictures and first networks give equal results."""

    steps: int
    task: str = "general"
    batch: int = BATCH                             # pictures per step, of all processes together
    rate: float = 1e-5                             # learning rate at its peak
    warm_up: int = 0                               # steps in which the rate rises to the peak
    cosine: bool = False                           # whether it then falls along a cosine; else it is constant
    optimizer: str = "adamw"                       # or "muon", see optimizers.py
    phases: tuple[Phase, ...] = (Phase(1.0, Size.fixed(1024, 1024)),)
    final: float = FINAL                           # share of the steps without cross-entropy
    augmentations: tuple[str, ...] = ()            # of AUGMENTATIONS
    average: float | None = AVERAGE                # decay of the averaged weights; None for no average
    dtype: str = "fp32"                            # of autocast
    accumulate: int = 1                            # pieces in which a batch is computed
    seed: int = 0

    def phase_at(self, step: int) -> Phase:
        """The phase of a step; the last phase also has the steps left over by rounding."""
        done = 0.0
        for phase in self.phases:
            done += phase.share
            if step < done * self.steps - 1e-9:
                return phase
        return self.phases[-1]

    def size_at(self, step: int) -> tuple[int, int]:
        """Height and width of the batch of a step."""
        import numpy as np

        return self.phase_at(step).size.draw(np.random.default_rng([self.seed, 2, step]))

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        if not self.cosine:
            return self.rate
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done)))

    def weights_at(self, step: int) -> dict[str, float]:
        """The weights of the loss's terms at a step; at the end without cross-entropy."""
        from .losses import WEIGHTS

        final = step >= round((1 - self.final) * self.steps)
        return {name: weight for name, weight in WEIGHTS[self.task].items() if name != "bce" or not final}

    def describe(self) -> dict[str, object]:
        """Every setting as plain text and numbers, in the order of the fields."""
        values = dict(vars(self))
        values["phases"] = ", ".join(f"{phase.size} for {phase.share:g}" for phase in self.phases)
        values["augmentations"] = ", ".join(self.augmentations) or "none"
        return values
