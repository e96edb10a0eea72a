"""Repaint a part of a picture: cut it out at a size that suits a diffusion model, and paste the result.

`plan_windows` chooses the windows, `cut_window` cuts one out, `paste_window` pastes its repainted picture.
Outside the mask every pixel of the picture is unchanged, bit for bit.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from .. import masks
from ..imaging.boxes import Box, enclosing_box
from ..imaging.levels import HALF_LEVEL
from ..imaging.transform import mirror_indices, resample_box
from .canvas import ROUNDING

CERTAIN_MARGIN = 0.02  # alpha at most this far from 0 or 1 counts as 0 or 1
MEGAPIXEL = 1024 * 1024  # pixels; as diffusion models count: SDXL's 1024×1024 is one

REGIONS = ("subject", "background")


class Window(NamedTuple):
    """A part of a picture, in whole pixels.

    It may reach beyond the picture, which `cut_window` mirrors there.
    """

    top: int
    left: int
    height: int
    width: int


class FractionalWindow(NamedTuple):
    """A part of a picture, in pixels with fractions; it may reach beyond the picture."""

    top: float
    left: float
    height: float
    width: float


def select_region(mask: Tensor, which: str, grow: float = 0.0, feather: float = 0.0) -> Tensor:
    """Choose what is to be repainted.

    Alpha within `CERTAIN_MARGIN` of 0 or 1 counts as 0 or 1: networks hardly ever output exactly 1, and some
    hosts read a white mask file as 254/255, which would repaint the subject slightly.

    Args:
        mask: float [B,H,W] in 0..1, 1 = subject.
        which: "subject" or "background".
        grow: pixels by which the region's edge moves outwards, negative inwards.
        feather: pixels to either side over which the edge is softened.

    Returns:
        float [B,H,W] in 0..1, 1 = repaint.

    Raises:
        ValueError: there is no such region.
        PackageError: kornia is missing, to feather.
    """
    if which not in REGIONS:
        raise ValueError(f"Choose a region of {', '.join(REGIONS)}: it is {which!r}")
    certain = masks.levels(mask, CERTAIN_MARGIN, 1 - CERTAIN_MARGIN)
    wanted = masks.feather(masks.grow(certain if which == "subject" else 1 - certain, grow), feather)
    wanted = torch.where(wanted > 1 - HALF_LEVEL, 1, wanted)
    return torch.where(wanted < HALF_LEVEL, 0, wanted)  # else it only enlarges the window


def plan_windows(
    boxes: list[Box | None], picture: tuple[int, int], *, context: float = 0.25, area: float = MEGAPIXEL,
    multiple: int = 8, most_aspect: float = 2.0,
) -> tuple[list[Window], tuple[int, int]]:
    """Choose a window around each box, and one size at which all of them are repainted.

    Windows have the aspect of the size, to the pixel, and lie inside the picture; one that is larger than the
    picture reaches beyond it on both sides.

    Args:
        boxes: one per frame; None, a frame with nothing to repaint, gets what the other boxes cover together,
            or all of the picture.
        picture: height and width in pixels.
        context: how far a window reaches beyond its box on every side, as a share of the box's longer side.
        area: approximate number of pixels of the size; 0 takes the largest window's own size, so that nothing
            is resized.
        multiple: pixels; both sides of the size are multiples of it.
        most_aspect: the longer side over the shorter at most; windows are widened to it, as far as the
            picture goes.

    Returns:
        The windows, and the size (H,W). Its aspect is that of the boxes with context, their geometric mean
        for several.
    """
    anywhere = enclosing_box(boxes) or Box(0, 0, *picture)
    needed = [_add_context(box or anywhere, picture, context, most_aspect) for box in boxes]
    if area:
        logarithms = [math.log(window.width / window.height) for window in needed]
        aspect = math.exp(sum(logarithms) / max(len(needed), 1))
        size = _choose_size(area, aspect, multiple)
        sides = [_widen_to_aspect(window, size) for window in needed]
    else:
        largest = (max((window[i] for window in needed), default=1) for i in (2, 3))
        size = tuple(math.ceil(side / multiple) * multiple for side in largest)
        sides = [size] * len(needed)
    return [_move_inside(window, side, picture) for window, side in zip(needed, sides)], size


def _choose_size(area: float, aspect: float, multiple: int) -> tuple[int, int]:
    """Choose, of the sizes (H,W) around the wanted one with sides in multiples, the one with the best aspect
    and area. The aspect counts more, since windows must be widened to it.
    """
    sides = [math.sqrt(pixels) / multiple for pixels in (area / aspect, area * aspect)]
    choices = itertools.product(*({max(math.floor(side), 1), math.ceil(side)} for side in sides))

    def error(size: tuple[int, int]) -> float:
        height, width = (side * multiple for side in size)
        return abs(math.log(width / height / aspect)) + 0.25 * abs(math.log(height * width / area))

    height, width = min(sorted(choices), key=error)
    return height * multiple, width * multiple


def _add_context(box: Box, picture: tuple[int, int], context: float, most_aspect: float) -> Window:
    """Enlarge a box by its context, and widen it to the largest allowed aspect, inside the picture."""
    more = round(context * box.longer_side)
    top, left = max(box.top - more, 0), max(box.left - more, 0)
    height, width = min(box.bottom + more, picture[0]) - top, min(box.right + more, picture[1]) - left
    least = math.ceil(max(height, width) / most_aspect)
    sides = min(max(height, least), picture[0]), min(max(width, least), picture[1])
    return _move_inside(Window(top, left, height, width), sides, picture)


def _widen_to_aspect(window: Window, size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest sides with the aspect of `size` that hold the window, in whole pixels."""
    zoom = max(window.height / size[0], window.width / size[1])
    return max(round(size[0] * zoom), window.height), max(round(size[1] * zoom), window.width)


def _move_inside(window: Window, sides: tuple[int, int], picture: tuple[int, int]) -> Window:
    """Return a window with these sides around the middle of another, moved into the picture, or around the
    picture's middle where it is larger.
    """
    starts = []
    for start, old, side, length in zip(window[:2], window[2:], sides, picture):
        centred = start + (old - side) // 2
        starts.append(min(max(centred, 0), length - side) if side <= length else (length - side) // 2)
    return Window(*starts, *sides)


def cut_window(image: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """Cut a window out of an image at another size.

    Args:
        image: float [B,H,W,C] in 0..1.
        window: the part.
        size: height and width of the result in pixels.

    Returns:
        float [B,*size,C] in 0..1; an exact copy where the window has that size.
    """
    rows = mirror_indices(window.top, window.height, image.shape[1], image.device)
    columns = mirror_indices(window.left, window.width, image.shape[2], image.device)
    seen = image[:, rows][:, :, columns]
    return resample_box(seen, (0, 0, window.height, window.width), size).clamp(0, 1)


def paste_window(image: Tensor, mask: Tensor, window: Window | FractionalWindow, painted: Tensor) -> Tensor:
    """Blend a repainted window into its picture.

    Args:
        image: float [1,H,W,C] in 0..1, C 3 or 4.
        mask: float [1,H,W] in 0..1, 1 = repainted.
        window: the part; only pixels that it holds completely are repainted.
        painted: float [1,h,w,3] in 0..1, of any size.

    Returns:
        float [1,H,W,C]. Where the mask is 0, and in a fourth channel, the picture is unchanged, bit for bit;
        also everywhere if the window comes back unchanged at its own size.
    """
    picture = image.shape[1:3]
    # The picture's rows and columns that the window holds completely, and where these are in `painted`.
    spans, seen = [], []
    for start, side, length, count in zip(window[:2], window[2:], picture, painted.shape[1:3]):
        first = max(math.ceil(start - ROUNDING), 0)
        last = max(min(math.floor(start + side + ROUNDING), length), first)
        spans.append(slice(first, last))
        seen.append([(place - start) * count / side for place in (first, last)])
    rows, columns = spans
    old, share = image[:, rows, columns, :3], mask[:, rows, columns, None].to(image)
    if not old.numel():
        return image.clone()
    (top, bottom), (left, right) = seen
    new = resample_box(painted, (top, left, bottom, right), tuple(old.shape[1:3])).clamp(0, 1).to(image)
    result = image.clone()
    result[:, rows, columns, :3] = torch.where(share == 1, new, old + share * (new - old))
    return result
