"""The included selector, loaded once: which part of a matte a prompt means."""

from __future__ import annotations

import functools

import torch

from ... import weights
from ...birefnet.checkpoint.selector import load_selector
from ...birefnet.network.selector import Selector


@functools.cache
def selector() -> Selector:
    """Return the included selector, on the CPU, where one call takes about 0.1 s.

    Raises:
        CheckpointError, OSError: its file is missing or damaged.
    """
    with torch.inference_mode(False):
        return load_selector(weights.SELECTOR)
