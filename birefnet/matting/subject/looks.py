"""Matte one of several subjects, chosen by a box or a point, in a crop around it.

`alpha_of` is a function from pictures [b,h,w,C] to alpha [b,h,w], such as `lambda x: birefnet.matte(model,
x)`; `context` is the margin of the crop around the subject's box, as a share of the box's longer side. The
network needs that margin: it separates a subject from what surrounds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...imaging.boxes import Box, bounding_box
from ...masks.pick import region_at, regions_within

AlphaOf = Callable[[Tensor], Tensor]

SOLID_ALPHA = 0.5         # a matte whose maximum is below it counts as empty
POINT_ZOOMS = (1, 2, 4)   # a point's subject is searched in the whole picture, a half, a quarter of its sides
SAME_SHARE = 0.5          # of the first matte: with less overlap, a closer crop shows another subject
MAX_CLOSER_LOOKS = 2      # crops tried after the first
# Of the longer side of the picture, in selection.py of the first crop: no further pass for longer crops.
CLOSER_SHARE = 0.75


def in_box(alpha_of: AlphaOf, image: Tensor, box: Box, context: float = 0.25) -> Tensor:
    """Matte the subject in a box: the regions of the crop's matte that lie mostly inside the box.

    Args:
        alpha_of: see the module.
        image: float [1,H,W,C] in 0..1.
        box: in pixels; it may reach beyond the picture.
        context: margin of the crop, as a share of the box's longer side.

    Returns:
        Alpha [1,H,W] in 0..1, 0 outside the crop; all 0 if nothing was found.

    Raises:
        ValueError: the box lies outside the picture.
        PackageError: SciPy is missing.
    """
    height, width = image.shape[1:3]
    box = _clip(box, height, width)
    area = image.new_zeros(height, width)
    area[box.slices] = 1
    return regions_within(look(alpha_of, image, widen_box(box, context, height, width)), area)


def at_point(alpha_of: AlphaOf, image: Tensor, x: int, y: int, context: float = 0.25) -> Tensor:
    """Matte the subject under a point: the region of the matte that contains the pixel.

    The whole picture is tried first, then smaller parts around the point (POINT_ZOOMS). Once the subject's
    size is known, it is matted again in a crop around it.

    Args:
        alpha_of: see the module.
        image: float [1,H,W,C] in 0..1.
        x, y: column and row of the pixel, counted from 0.
        context: margin of the crop, as a share of the longer side of the subject's box.

    Returns:
        Alpha [1,H,W] in 0..1, 0 outside the crop; all 0 if nothing was found.

    Raises:
        ValueError: the pixel lies outside the picture.
        PackageError: SciPy is missing.
    """
    height, width = image.shape[1:3]
    check_point(x, y, height, width)
    for zoom in POINT_ZOOMS:
        seen = part_around(x, y, height, width, zoom)
        found = region_at(look(alpha_of, image, seen), x, y)
        if found.max() >= SOLID_ALPHA:
            return _look_closer(alpha_of, image, found, seen, x, y, context)
    return torch.zeros_like(found)


def _look_closer(
    alpha_of: AlphaOf, image: Tensor, found: Tensor, seen: Box, x: int, y: int, context: float
) -> Tensor:
    """Matte the region under (x, y) again in a crop around `found`, and once more if it turns out larger."""
    for _ in range(MAX_CLOSER_LOOKS):
        closer = widen_box(bounding_box(found[0], SOLID_ALPHA), context, *image.shape[1:3])
        if closer == seen or closer.longer_side > CLOSER_SHARE * max(image.shape[1:3]):
            break
        again = region_at(look(alpha_of, image, closer), x, y)
        if again.max() < SOLID_ALPHA or torch.minimum(found, again).sum() < SAME_SHARE * found.sum():
            break
        found, seen = again, closer
    return found


def at_points(alpha_of: AlphaOf, image: Tensor, points: Sequence[tuple[int, int]]) -> Tensor:
    """The union of `at_point` for several points."""
    alpha_of = keep_whole(alpha_of, image)
    return torch.stack([at_point(alpha_of, image, x, y) for x, y in points]).amax(0)


def keep_whole(alpha_of: AlphaOf, image: Tensor) -> AlphaOf:
    """Wrap `alpha_of`, so that the matte of the whole picture [1,H,W,C] is computed only once."""
    whole = None

    def matte(pictures: Tensor) -> Tensor:
        nonlocal whole
        if pictures.shape != image.shape:
            return alpha_of(pictures)
        whole = alpha_of(pictures) if whole is None else whole
        return whole

    return matte


def check_point(x: int, y: int, height: int, width: int) -> None:
    """Raise ValueError for a pixel outside a picture."""
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"Give a point with x from 0 to {width - 1} and y from 0 to {height - 1}: the point "
                         f"({x}, {y}) lies outside the picture of {width}×{height} pixels")


def widen_box(box: Box, context: float, height: int, width: int) -> Box:
    """Widen a box by `context` times its longer side on every side, clipped to the picture.

    Raises:
        ValueError: the box lies outside the picture.
    """
    more = round(context * box.longer_side)
    return _clip(Box(box.top - more, box.left - more, box.bottom + more, box.right + more), height, width)


def _clip(box: Box, height: int, width: int) -> Box:
    """Clip a box to the picture; raise ValueError if nothing is left of it."""
    clipped = box.intersection(Box(0, 0, height, width))
    if clipped.top >= clipped.bottom or clipped.left >= clipped.right:
        raise ValueError("Give a box in the picture, x and y its upper left corner, in pixels: the box from "
                         f"({box.left}, {box.top}) to ({box.right}, {box.bottom}) lies outside the "
                         f"picture of {width}×{height} pixels")
    return clipped


def part_around(x: int, y: int, height: int, width: int, zoom: int) -> Box:
    """A crop with 1 / zoom of the picture's sides, centred on (x, y) as far as the border allows."""
    h, w = -(-height // zoom), -(-width // zoom)
    top, left = min(max(y - h // 2, 0), height - h), min(max(x - w // 2, 0), width - w)
    return Box(top, left, top + h, left + w)


def look(alpha_of: AlphaOf, image: Tensor, box: Box) -> Tensor:
    """Matte a crop of the picture: alpha [1,H,W], 0 outside the box."""
    alpha = image.new_zeros(image.shape[:3])
    inside = (slice(None), *box.slices)
    alpha[inside] = alpha_of(image[inside]).to(alpha)
    return alpha
