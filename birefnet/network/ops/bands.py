"""Maps by bands of rows, exactly: a band's convolution reads the rows it needs, and zeros only outside the whole map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import resize
from .products import convolve

Rows = Callable[[int, int], Tensor]
"""Rows [start, stop) of a map, as [B,C,stop-start,W]; made when asked for, so the whole map need not exist."""

LEAST = 8  # rows: below, the rows read twice at a band's ends cost more than the band


def bands(height: int, row_bytes: int, scratch: int) -> Iterator[tuple[int, int]]:
    """Cut `height` rows into even bands whose temporaries, `row_bytes` a row, stay within `scratch`."""
    most = max(LEAST, scratch // row_bytes)
    count = -(-height // most)
    for i in range(count):
        yield height * i // count, height * (i + 1) // count


def by_bands(make: Rows, height: int, row_bytes: int, scratch: int, frame: int = 0) -> Tensor:
    """The whole map of rows that `make` gives, made band by band, in channels-last memory; `frame` zeros around it."""
    y = None
    for start, stop in bands(height, row_bytes, scratch):
        part = make(start, stop)
        if stop - start == height and not frame:
            return part
        if y is None:
            batch, channels, _, width = part.shape
            size = (batch, height + 2 * frame, width + 2 * frame, channels)
            y = (part.new_zeros(size) if frame else part.new_empty(size)).permute(0, 3, 1, 2)
        y[:, :, frame + start:frame + stop, frame:frame + part.shape[3]] = part
    return y


def rows_of(x: Tensor) -> Rows:
    """Rows of a map that exists."""
    return lambda start, stop: x[:, :, start:stop]


def convolved(conv: nn.Conv2d, rows: Rows, height: int) -> Rows:
    """Rows of conv(map) for a map of `height` rows."""
    return partial(convolve_rows, conv, rows, height)


def convolve_rows(conv: nn.Conv2d, rows: Rows, height: int, start: int, stop: int) -> Tensor:
    first = start * conv.stride[0] - conv.padding[0]
    last = (stop - 1) * conv.stride[0] - conv.padding[0] + conv.dilation[0] * (conv.kernel_size[0] - 1) + 1
    above, below = max(0, -first), max(0, last - height)
    x = rows(first + above, last - below)
    if above != below:
        x, above = F.pad(x, (0, 0, above, below)), 0
    return convolve(conv, x, (above, conv.padding[1]))


def resize_rows(x: Tensor, size: tuple[int, int], start: int, stop: int) -> Tensor:
    """Rows [start, stop) of resize(x, size), [B,C,h,w] in channels-last memory."""
    height = x.shape[2]
    if x.shape[2:] == size or (start == 0 and stop == size[0]):
        return resize(x, size)[:, :, start:stop]
    y, low, high = row_places(height, size[0], start, stop, x.device)
    rows = x.permute(0, 2, 3, 1)
    rows = torch.lerp(rows.index_select(1, low), rows.index_select(1, high), y.to(x.dtype).view(-1, 1, 1))
    return resize(rows.permute(0, 3, 1, 2), (stop - start, size[1]))


@lru_cache(maxsize=256)
def row_places(height: int, grown: int, start: int, stop: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For rows [start, stop) of `grown`: share of the lower row, and both rows among `height`, corners aligned."""
    with torch.inference_mode(False):
        y = torch.arange(start, stop, dtype=torch.float64) * ((height - 1) / max(1, grown - 1))
        low = y.floor().clamp(max=max(0, height - 2))
        high = (low + 1).clamp(max=height - 1)
        return (y - low).float().to(device), low.long().to(device), high.long().to(device)


def resize_twice(x: Tensor, via: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """resize(resize(x, via), size) without the map of size `via`: a product from either side.

    x: [B,C,h,w] in channels-last memory.
    """
    batch, channels, height, width = x.shape
    if via == size:
        return resize(x, size)
    rows = x.permute(0, 2, 3, 1).reshape(batch, height, -1)
    rows = resizing(height, via[0], size[0], x.device).to(x.dtype) @ rows
    columns = resizing(width, via[1], size[1], x.device).to(x.dtype) @ rows.view(-1, width, channels)
    return columns.view(batch, *size, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def resizing(length: int, via: int, size: int, device: torch.device) -> Tensor:
    """[size,length]: what resizing a line of `length` pixels to `via`, then to `size`, multiplies it with."""
    with torch.inference_mode(False):
        unit = torch.eye(length).view(1, 1, length, length)
        return resize(resize(unit, (via, length)), (size, length))[0, 0].to(device)
