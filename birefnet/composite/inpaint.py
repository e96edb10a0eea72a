"""Repainting a part of a picture: cut it out at a size that a diffusion model likes, and put the result back.

`plan` chooses the windows, `cut` takes one out, `paste` puts its repainted picture back. Outside the mask every pixel
of the picture stays as it was, bit for bit.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from .. import masks
from ..imaging.boxes import Box, around
from ..imaging.resample import mirrored, part

SURE = 0.02  # alpha so near to 0 or 1 counts as that
VISIBLE = 0.5 / 255  # a difference smaller than this is nothing in 8 bits
MEGAPIXEL = 1024 * 1024  # as diffusion models count: SDXL's 1024×1024 is one

REGIONS = ("subject", "background")


class Window(NamedTuple):
    """A part of a picture, in whole pixels. It may reach beyond the picture, which is mirrored there."""

    top: int
    left: int
    height: int
    width: int


def region(mask: Tensor, which: str, grow: float = 0.0, feather: float = 0.0) -> Tensor:
    """What is to be repainted, [B,H,W], 1 = repaint: the subject of mask [B,H,W] (1 = subject) or its background, its
    edge moved outwards by `grow` pixels (below 0: inwards) and softened over `feather` pixels to either side.

    Alpha within `SURE` of 0 or 1 counts as that: networks hardly ever say exactly 1, and some hosts read a white mask
    file as 254/255; the subject would be repainted by a trace.
    """
    if which not in REGIONS:
        raise ValueError(f"expected a region of {', '.join(REGIONS)}, got {which!r}")
    certain = masks.levels(mask, SURE, 1 - SURE)
    wanted = masks.feather(masks.grow(certain if which == "subject" else 1 - certain, grow), feather)
    wanted = torch.where(wanted > 1 - VISIBLE, 1, wanted)
    return torch.where(wanted < VISIBLE, 0, wanted)  # what nobody sees would only make the window larger


def plan(
    boxes: list[Box | None], picture: tuple[int, int], *, context: float = 0.25, area: float = MEGAPIXEL,
    multiple: int = 8, most_aspect: float = 2.0,
) -> tuple[list[Window], tuple[int, int]]:
    """A window of a picture (H,W) around each box, and the one size (H,W) at which all of them are repainted.

    Each box gets `context`, a share of its longer side, on all sides, and is widened to an aspect within
    1 : `most_aspect`, both as far as the picture goes. None, a frame with nothing to repaint, is given what the other
    boxes cover together, or all of the picture. The size has about `area` pixels (0: as many as the largest box needs,
    so that nothing is resized), sides that are multiples of `multiple`, and the boxes' aspect (their mean, for
    several). Windows have exactly that aspect, lie inside the picture, and reach out of it only where they are larger.
    """
    anywhere = around(boxes) or Box(0, 0, *picture)
    needed = [_surrounded(box or anywhere, picture, context, most_aspect) for box in boxes]
    if area:
        aspect = math.exp(sum(math.log(window.width / window.height) for window in needed) / max(len(needed), 1))
        size = _size(area, aspect, multiple)
        sides = [_widened(window, size) for window in needed]
    else:
        largest = (max((window[i] for window in needed), default=1) for i in (2, 3))
        size = tuple(math.ceil(side / multiple) * multiple for side in largest)
        sides = [size] * len(needed)
    return [_inside(window, side, picture) for window, side in zip(needed, sides)], size


def _size(area: float, aspect: float, multiple: int) -> tuple[int, int]:
    """Of the sizes (H,W) around the wanted one whose sides are multiples, that with the best aspect and area; the
    aspect counts more, since the window must be widened to it."""
    sides = [math.sqrt(pixels) / multiple for pixels in (area / aspect, area * aspect)]
    choices = itertools.product(*({max(math.floor(side), 1), math.ceil(side)} for side in sides))

    def error(size: tuple[int, int]) -> float:
        height, width = (side * multiple for side in size)
        return abs(math.log(width / height / aspect)) + 0.25 * abs(math.log(height * width / area))

    height, width = min(sorted(choices), key=error)
    return height * multiple, width * multiple


def _surrounded(box: Box, picture: tuple[int, int], context: float, most_aspect: float) -> Window:
    more = round(context * max(box.bottom - box.top, box.right - box.left))
    top, left = max(box.top - more, 0), max(box.left - more, 0)
    height, width = min(box.bottom + more, picture[0]) - top, min(box.right + more, picture[1]) - left
    least = math.ceil(max(height, width) / most_aspect)
    sides = min(max(height, least), picture[0]), min(max(width, least), picture[1])
    return _inside(Window(top, left, height, width), sides, picture)


def _widened(window: Window, size: tuple[int, int]) -> tuple[int, int]:
    """The smallest sides of the aspect of `size` that hold the window, to the pixel."""
    zoom = max(window.height / size[0], window.width / size[1])
    return max(round(size[0] * zoom), window.height), max(round(size[1] * zoom), window.width)


def _inside(window: Window, sides: tuple[int, int], picture: tuple[int, int]) -> Window:
    """A window of these sides about the middle of another, moved into the picture; about the picture's middle where it
    is larger."""
    starts = []
    for start, old, side, whole in zip(window[:2], window[2:], sides, picture):
        start = min(max(start + (old - side) // 2, 0), whole - side) if side <= whole else (whole - side) // 2
        starts.append(start)
    return Window(*starts, *sides)


def cut(image: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """The window of image [B,H,W,C] at `size`: [B,*size,C]. An exact copy where the window has that size."""
    rows = mirrored(window.top, window.height, image.shape[1], image.device)
    columns = mirrored(window.left, window.width, image.shape[2], image.device)
    seen = image[:, rows][:, :, columns]
    return part(seen, (0, 0, window.height, window.width), size).clamp(0, 1)


def paste(image: Tensor, mask: Tensor, window: Window, painted: Tensor) -> Tensor:
    """Image [1,H,W,C] with the repainted window [1,h,w,3], of any size, blended in by mask [1,H,W] (1 = repainted).

    Where the mask is 0, and in a fourth channel, the picture stays bit for bit; so it does everywhere if the window
    comes back unchanged at its own size.
    """
    painted = part(painted, (0, 0, *painted.shape[1:3]), (window.height, window.width)).clamp(0, 1).to(image)
    top, left = max(-window.top, 0), max(-window.left, 0)  # how much of the window is beyond the picture
    rows, columns = (slice(max(start, 0), start + side) for start, side in zip(window[:2], window[2:]))
    old, share = image[:, rows, columns, :3], mask[:, rows, columns, None].to(image)
    new = painted[:, top:top + old.shape[1], left:left + old.shape[2]]
    result = image.clone()
    result[:, rows, columns, :3] = torch.where(share == 1, new, old + share * (new - old))
    return result
