"""The picture whose mask is known, and how close to it the included checkpoint must come.

A clear subject before a plain background, which any checkpoint must find: these tests are of the nodes. How
good the checkpoint is on harder pictures is measured elsewhere (weights/NANO.md,
tests/cli/test_photographs.py).
"""

from __future__ import annotations

from host import PACK

DATA = PACK / "tests" / "data"
PHOTO = DATA / "figure.jpg"  # 800×960
MASK = DATA / "figure_mask.png"
LEAST_IOU = 0.85  # of the mask cut at one half: all white has .45
MOST_OF_A_WALL = 0.05  # coverage of a picture without a subject
