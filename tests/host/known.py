"""The picture whose mask is known, and bounds for the included checkpoint's masks.

It is a clear subject before a plain background, which any checkpoint must find, as these tests are about the
nodes. The checkpoint's quality on harder pictures is measured elsewhere (weights/NANO.md,
tests/cli/test_photographs.py).
"""

from __future__ import annotations

from host import PACK

DATA = PACK / "tests" / "data"
PHOTO = DATA / "figure.jpg"  # 800×960
MASK = DATA / "figure_mask.png"
LEAST_IOU = 0.85  # of the mask thresholded at 1/2; an all-white mask has .45
MOST_OF_A_WALL = 0.05  # largest coverage for a picture without a subject
