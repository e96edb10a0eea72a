"""Maps in bands of rows. Results are exact: a band's convolution also reads rows of the bands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import resize
from .products import convolve

Rows = Callable[[int, int], Tensor]
"""rows(start, stop) computes these rows of a map, [B,C,stop-start,W], which need not exist as a whole."""

MIN_BAND_ROWS = 8  # lower bands spend more on rows that two bands compute than on their own


def iterate_bands(height: int, row_bytes: int, scratch: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of even bands whose temporaries, `row_bytes` per row, take up to `scratch`."""
    highest = max(MIN_BAND_ROWS, scratch // row_bytes)
    count = -(-height // highest)
    for i in range(count):
        yield height * i // count, height * (i + 1) // count


def compute_by_bands(make: Rows, height: int, row_bytes: int, scratch: int, frame: int = 0) -> Tensor:
    """Compute a map band by band, channels-last.

    Args:
        make: computes rows of the map.
        height: of the map.
        row_bytes: temporaries of one row.
        scratch: bytes for temporaries.
        frame: rows and columns of zeros to add on each side.

    Returns:
        [B,C,height+2·frame,W+2·frame].
    """
    y = None
    for start, stop in iterate_bands(height, row_bytes, scratch):
        part = make(start, stop)
        if stop - start == height and not frame:
            return part
        if y is None:
            batch, channels, _, width = part.shape
            size = (batch, height + 2 * frame, width + 2 * frame, channels)
            y = (part.new_zeros(size) if frame else part.new_empty(size)).permute(0, 3, 1, 2)
        y[:, :, frame + start:frame + stop, frame:frame + part.shape[3]] = part
    return y


def as_rows(x: Tensor) -> Rows:
    """Return a tensor [B,C,H,W] as Rows."""
    return lambda start, stop: x[:, :, start:stop]


def lazy_convolution(conv: nn.Conv2d, rows: Rows, height: int) -> Rows:
    """Return conv(map) as Rows, for a map of `height` rows."""
    return partial(convolve_rows, conv, rows, height)


def convolve_rows(conv: nn.Conv2d, rows: Rows, height: int, start: int, stop: int) -> Tensor:
    """Compute rows [start, stop) of conv(map), for a map of `height` rows; outside, the map is zero."""
    first = start * conv.stride[0] - conv.padding[0]
    last = (stop - 1) * conv.stride[0] - conv.padding[0] + conv.dilation[0] * (conv.kernel_size[0] - 1) + 1
    above, below = max(0, -first), max(0, last - height)
    x = rows(first + above, last - below)
    if above != below:
        x, above = F.pad(x, (0, 0, above, below)), 0
    return convolve(conv, x, (above, conv.padding[1]))


def resize_rows(x: Tensor, size: tuple[int, int], start: int, stop: int) -> Tensor:
    """Compute rows [start, stop) of resize(x, size), for x [B,C,h,w], channels-last."""
    height = x.shape[2]
    if x.shape[2:] == size or (start == 0 and stop == size[0]):
        return resize(x, size)[:, :, start:stop]
    y, low, high = find_source_rows(height, size[0], start, stop, x.device)
    rows = x.permute(0, 2, 3, 1)
    rows = torch.lerp(rows.index_select(1, low), rows.index_select(1, high), y.to(x.dtype).view(-1, 1, 1))
    return resize(rows.permute(0, 3, 1, 2), (stop - start, size[1]))


@lru_cache(maxsize=256)
def find_source_rows(
    height: int, resized: int, start: int, stop: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the source rows of rows [start, stop) of a map resized from `height` rows, corners aligned.

    Returns:
        The weight of the lower source row, and the numbers of the upper and the lower one.
    """
    with torch.inference_mode(False):
        y = torch.arange(start, stop, dtype=torch.float64) * ((height - 1) / max(1, resized - 1))
        low = y.floor().clamp(max=max(0, height - 2))
        high = (low + 1).clamp(max=height - 1)
        return (y - low).float().to(device), low.long().to(device), high.long().to(device)


def resize_twice(x: Tensor, via: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Compute resize(resize(x, via), size) by two matrix products, without the map of size `via`.

    x: [B,C,h,w], channels-last.
    """
    batch, channels, height, width = x.shape
    if via == size:
        return resize(x, size)
    rows = x.permute(0, 2, 3, 1).reshape(batch, height, -1)
    rows = make_resizing_matrix(height, via[0], size[0], x.device).to(x.dtype) @ rows
    columns = make_resizing_matrix(width, via[1], size[1], x.device).to(x.dtype)
    columns = columns @ rows.view(-1, width, channels)
    return columns.view(batch, *size, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def make_resizing_matrix(length: int, via: int, size: int, device: torch.device) -> Tensor:
    """Make the matrix [size,length] that resizes a line of `length` pixels to `via`, then to `size`."""
    with torch.inference_mode(False):
        unit = torch.eye(length).view(1, 1, length, length)
        return resize(resize(unit, (via, length)), (size, length))[0, 0].to(device)
