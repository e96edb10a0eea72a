"""Human correction efforts (Qin et al. 2022, the DIS5K paper): number of clicks to correct a mask by hand.

Errors within 5 pixels of the truth's border are ignored, and so are small ones that a brush of that width
covers, unless they hit the truth's skeleton: a lost thin part counts. A wrong region that touches the region
it should belong to is traced by a polygon and costs its corners; an isolated one costs one click.
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import label
from skimage.morphology import skeletonize

RELAX_PIXELS = 5    # tolerated distance from the border
EPSILON = 2.0       # pixels that a polygon may deviate from the border
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def human_correction_efforts(prediction: np.ndarray, truth: np.ndarray) -> int:
    """Clicks that turn prediction > 128/255 (float [H,W] in 0..1) into the truth (bool [H,W])."""
    found = prediction > 128 / 255
    hits, false, missed = found & truth, found & ~truth, truth & ~found
    core = _erode(found | truth)
    false_left = false & _regrow(false & core, ~(hits | missed))
    missed_left = missed & _regrow(missed & core, ~(hits | false))
    skeleton = skeletonize(truth)
    missed_left |= skeleton & ~hits
    background = ~(hits | false_left | missed_left)
    return _clicks(false_left, hits | missed_left) + _clicks(missed_left, background)


def _erode(mask: np.ndarray) -> np.ndarray:
    """Erode a mask by RELAX_PIXELS."""
    return cv2.erode(mask.astype(np.uint8), CROSS, iterations=RELAX_PIXELS).astype(bool)


def _regrow(seeds: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Dilate seeds RELAX_PIXELS times, each time only within `inside`."""
    for _ in range(RELAX_PIXELS):
        seeds = cv2.dilate(seeds.astype(np.uint8), CROSS).astype(bool) & inside
    return seeds


def _clicks(regions: np.ndarray, neighbour: np.ndarray) -> int:
    """Corners of the borders that `regions` share with `neighbour`, plus one for each region that shares
    none."""
    contours, _ = cv2.findContours(regions.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    near = cv2.dilate(neighbour.astype(np.uint8), CROSS).astype(bool)
    labels = label(regions)
    alone = np.ones(labels.max() + 1, bool)
    alone[0] = False
    visited = np.zeros(regions.shape, bool)
    corners = 0
    for contour in contours:
        x, y = contour[:, 0].T
        first = np.zeros(len(x), bool)
        first[np.unique(np.ravel_multi_index((y, x), regions.shape), return_index=True)[1]] = True
        shared = near[y, x] & ~visited[y, x] & first
        visited[y[shared], x[shared]] = True
        alone[labels[y[shared], x[shared]]] = False
        corners += sum(len(cv2.approxPolyDP(line, EPSILON, False)) for line in _lines(contour, shared))
    return corners + int(alone.sum())


def _lines(contour: np.ndarray, shared: np.ndarray) -> list[np.ndarray]:
    """The shared runs of a contour [N,1,2].

    If the first and the last meet, the first is appended in reverse to the last, as in the authors' code.
    """
    ends = np.flatnonzero(np.diff(shared)) + 1
    lines = [run for run, kept in zip(np.split(contour, ends), np.split(shared, ends)) if kept[0]]
    if len(lines) > 1 and np.abs(lines[0][0, 0] - lines[-1][-1, 0]).max() == 1:
        lines[-1] = np.concatenate([lines[-1], lines[0][::-1]])
        del lines[0]
    return lines
