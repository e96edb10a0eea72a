"""Measures the hardware's best rate of matrix products, in operations per second."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from .worker import synchronize

MIN_SECONDS = 0.15  # of products in one measurement
# By device: the map's side in pixels, channels in, channels out.
SHAPES = {"cpu": (64, 768, 3072), "cuda": (128, 4096, 4096), "mps": (128, 1024, 4096)}


def product_rate(dtype: torch.dtype, device: str) -> float:
    """Measure the faster of PyTorch's ways to multiply [rows,in] by [in,out], in operations per second.

    A linear layer goes to the BLAS library, which on some processors is the slower one; a 1×1 convolution of
    a channels-last map is the same product by oneDNN or cuDNN.
    """
    side, inner, outer = SHAPES[device]
    maps = torch.randn(1, inner, side, side).to(device, dtype, memory_format=torch.channels_last)
    weight = torch.randn(outer, inner, 1, 1).to(device, dtype, memory_format=torch.channels_last)
    rows, matrix = maps.permute(0, 2, 3, 1).flatten(0, 2), weight.flatten(1)
    ways = (lambda: F.linear(rows, matrix), lambda: F.conv2d(maps, weight))
    with torch.inference_mode():
        return 2 * side**2 * inner * outer / min(seconds(way, device) for way in ways)


def seconds(way: Callable[[], object], device: str) -> float:
    """Return the mean seconds of one call, over at least MIN_SECONDS, after one call to warm up."""
    way()
    synchronize(device)
    started, calls, elapsed = time.perf_counter(), 0, 0.0
    while elapsed < MIN_SECONDS:
        for _ in range(1 if device == "cpu" else 10):
            way()
            calls += 1
        synchronize(device)
        elapsed = time.perf_counter() - started
    return elapsed / calls
