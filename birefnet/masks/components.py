"""Connected components of a picture by runs and union-find, in numpy and without a loop over pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """The horizontal runs of the set pixels of a picture, in reading order, and the component of each.

    start, stop: positions y * (W + 1) + x of the first pixel and past the last one [N]; label: 0..count-1 [N],
    numbered in the order in which the components first appear.
    """

    start: np.ndarray
    stop: np.ndarray
    label: np.ndarray
    count: int


def find_runs(picture: np.ndarray, diagonal: bool) -> Runs:
    """Runs and components of picture, bool [H,W]; `diagonal`: pixels that touch by a corner hang together
    (8-connectivity), else only those that share a side do (4-connectivity)."""
    height, width = picture.shape
    pitch = width + 1  # a gap after every row, so that no run and no neighbour crosses from one row to the next
    framed = np.zeros((height, width + 2), bool)
    framed[:, 1:-1] = picture
    ends = np.flatnonzero(framed[:, 1:] != framed[:, :-1])
    start, stop = ends[::2], ends[1::2]
    # In the row below, run i touches the runs first[i] .. last[i] - 1.
    slack = 1 if diagonal else 0
    first = np.searchsorted(stop, start + (pitch - slack), side="right")
    last = np.searchsorted(start, stop + (pitch + slack), side="left")
    touching = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(start)), touching)
    below = np.arange(len(above)) - np.repeat(np.cumsum(touching) - touching - first, touching)
    root = _unite(len(start), above, below)
    is_root = root == np.arange(len(root))
    return Runs(start, stop, (np.cumsum(is_root) - 1)[root], int(is_root.sum()))


def _unite(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The smallest member of each of `count` elements' set, after uniting left[i] with right[i] for every i."""
    parent = np.arange(count)
    while len(left):
        low, high = np.minimum(left, right), np.maximum(left, right)
        np.minimum.at(parent, high, low)  # a parent is always smaller: no cycles
        while not np.array_equal(grand := parent[parent], parent):
            parent = grand
        left, right = parent[left], parent[right]
        apart = left != right
        left, right = left[apart], right[apart]
    return parent


def sums(picture: np.ndarray, runs: Runs) -> np.ndarray:
    """The sum of picture [H,W] over each component [count], float64."""
    framed = np.pad(picture, ((0, 0), (0, 1))).ravel()
    bounds = np.stack([runs.start, runs.stop], axis=1).ravel()
    per_run = np.add.reduceat(framed, bounds)[::2] if len(bounds) else np.zeros(0)
    return np.bincount(runs.label, weights=per_run, minlength=runs.count)


def paint(values: np.ndarray, runs: Runs, shape: tuple[int, int]) -> np.ndarray:
    """A picture [H,W] with values[i] on every pixel of run i and 0 elsewhere."""
    height, width = shape
    pitch = width + 1
    bounds = np.concatenate([[0], np.stack([runs.start, runs.stop], axis=1).ravel(), [height * pitch]])
    strokes = np.zeros(len(bounds) - 1, values.dtype)  # gap, run, gap, run, ..., gap
    strokes[1::2] = values
    return np.repeat(strokes, np.diff(bounds)).reshape(height, pitch)[:, :-1]
