"""Rendered pictures for the cache, made on all cores; each depends on its seed only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from . import models
from .panoramas import exr

# Of twenty pictures: people cut out, then whole pictures of people, birds, things and flowers.
KINDS = ("person",) * 5 + ("portrait",) * 4 + ("bird",) * 4 + ("thing",) * 3 + ("flower",) * 4
PATTERN = 256  # pixels: sides of what a stuff looks like


def renders(count: int, seed: int, grounds: list[np.ndarray], environments: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Entries for the cache: a cut-out is a "person" named by the framing, a whole picture a "render" named by its kind.

    grounds: uint8 [h,w,3] each, what clothes, walls and floors may look like; environments: the folder of npm
    @pmndrs/assets' panoramas, which light the scenes.
    """
    patterns = [np.asarray(Image.fromarray(ground).resize((PATTERN, PATTERN))) for ground in grounds]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for module in environments.glob("*.exr.js"):
            (scratch / module.stem).write_bytes(exr(module))
        # Blender's state is one per process and does not survive a fork; and where the parent has imported it, children
        # find another package of its name.
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn"), Worker.begin,
                                 (seed, patterns, models.things(scratch / "models"), scratch)) as pool:
            yield from pool.map(Worker.render, range(count))


class Worker:
    """What one process renders with."""

    @classmethod
    def begin(cls, seed: int, patterns: list[np.ndarray], things: list[Path], scratch: Path) -> None:
        from . import studio

        cls.seed, cls.patterns, cls.models, cls.panoramas = seed, patterns, things, studio.panoramas(scratch)
        cls.file = scratch / f"{os.getpid()}.png"

    @classmethod
    def render(cls, number: int) -> tuple[str, str, np.ndarray]:
        from . import birds, people, things

        rng, kind = np.random.default_rng([cls.seed, number]), KINDS[number % len(KINDS)]
        what = cls.pattern, cls.panoramas[rng.integers(len(cls.panoramas))], cls.file
        if kind == "person":
            pixels, framing = people.person(rng, *what)
            return kind, framing, pixels
        if kind == "thing":
            pixels = things.thing(rng, *what, cls.models[rng.integers(len(cls.models))])
        else:
            pixels = {"portrait": people.portrait, "bird": birds.bird, "flower": things.flower}[kind](rng, *what)
        return "render", kind, pixels

    @classmethod
    def pattern(cls, rng: np.random.Generator) -> np.ndarray:
        return cls.patterns[rng.integers(len(cls.patterns))]
