"""The photograph whose mask is known, and how close to it the included checkpoint must come."""

from __future__ import annotations

from host import PACK

DATA = PACK / "tests" / "data"
PHOTO = DATA / "dandelion.jpg"  # 800×960
MASK = DATA / "dandelion_mask.png"
LEAST_IOU = 0.6  # of the mask cut at one half: all white has .27; NANO.md tells the real quality
MOST_OF_A_WALL = 0.05  # coverage of a picture without a subject
