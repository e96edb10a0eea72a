"""People and birds for the cache, rendered on all cores; each depends on its seed only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

PATTERN = 256  # pixels: sides of what a stuff looks like


def renders(people: int, birds: int, seed: int, grounds: list[np.ndarray], environments: Path
            ) -> Iterator[tuple[str, str, np.ndarray]]:
    """Entries for the cache: two in three people cut out, a "person" named by the framing; the others and the birds are
    whole pictures, "render".

    grounds: uint8 [h,w,3] each, what clothes and banks may look like; environments: the folder of npm @pmndrs/assets'
    panoramas, which light them.
    """
    wanted = [("person", i) for i in range(people)] + [("bird", i) for i in range(birds)]
    patterns = [np.asarray(Image.fromarray(ground).resize((PATTERN, PATTERN))) for ground in grounds]
    # Blender's state is one per process, and does not survive a fork.
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(
            len(os.sched_getaffinity(0)), get_context("spawn"), Worker.begin,
            (seed, patterns, environments, Path(scratch))) as pool:
        yield from pool.map(Worker.render, wanted)


class Worker:
    """What one process renders with."""

    @classmethod
    def begin(cls, seed: int, patterns: list[np.ndarray], environments: Path, scratch: Path) -> None:
        from . import studio

        cls.seed, cls.patterns = seed, patterns
        cls.folder = scratch / str(os.getpid())
        cls.folder.mkdir()
        cls.panoramas = studio.panoramas(environments, cls.folder)

    @classmethod
    def render(cls, wanted: tuple[str, int]) -> tuple[str, str, np.ndarray]:
        from .birds import bird
        from .people import person, portrait

        kind, number = wanted
        rng = np.random.default_rng([cls.seed, number])
        panorama, file = cls.panoramas[rng.integers(len(cls.panoramas))], cls.folder / "picture.png"
        if kind == "person" and number % 3:
            pixels, framing = person(rng, cls.pattern, panorama, file)
            return "person", framing, pixels
        whole = portrait if kind == "person" else bird
        return "render", kind, whole(rng, cls.pattern, panorama, file)

    @classmethod
    def pattern(cls, rng: np.random.Generator) -> np.ndarray:
        return cls.patterns[rng.integers(len(cls.patterns))]
