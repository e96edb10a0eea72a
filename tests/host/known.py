"""The photograph whose mask is known, and how close to it the included checkpoint must come."""

from __future__ import annotations

from host import PACK

DATA = PACK / "tests" / "data"
PHOTO = DATA / "astronaut.jpg"
MASK = DATA / "astronaut_mask.png"
LEAST_IOU = 0.7  # of the mask cut at one half; what the checkpoint reaches elsewhere is in weights/NANO.md
MOST_OF_A_WALL = 0.15  # coverage of a picture without a subject
