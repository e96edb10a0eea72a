"""Choose one subject among several by a box, a point or a coarse mask: the network looks at a crop around it.

Every function takes `alpha_of`, a function from pictures [b,h,w,C] to alpha [b,h,w], such as `lambda x:
birefnet.matte(model, x)`, and `context`, how far the crop reaches beyond the subject's box, as a share of the
box's longer side: a network needs to see what the subject stands out from.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ... import masks
from ...imaging.boxes import Box, bounding_box
from ...masks.pick import region_at, regions_within

AlphaOf = Callable[[Tensor], Tensor]

SOLID_ALPHA = 0.5         # some pixel of a subject must reach it for the subject to count as found
POINT_ZOOMS = (1, 2, 4)   # a point's subject is looked for in the whole picture, then in a half and a quarter
SAME_SHARE = 0.5          # share of the first matte that a closer look at the same subject must show too
MAX_CLOSER_LOOKS = 2
CLOSER_SHARE = 0.75       # of the picture's longer side: larger crops are no closer look
LEAST_REACH = 0.02        # share of a coarse mask's box by which the subject may at least go beyond the mask
NEIGHBOURHOOD_SIDE = 256  # pixels: longer side at which a coarse mask's neighbourhood is computed


def in_box(alpha_of: AlphaOf, image: Tensor, box: Box, context: float = 0.25) -> Tensor:
    """Matte the subject in a box: of what the network finds in and around it, the regions that lie mostly in
    the box.

    Args:
        alpha_of: see above.
        image: float [1,H,W,C] in 0..1.
        box: in pixels; it may reach beyond the picture.
        context: share of the box's longer side.

    Returns:
        Alpha [1,H,W] in 0..1, 0 outside the crop, all 0 where nothing was found.

    Raises:
        ValueError: the box lies outside the picture.
        PackageError: SciPy is missing.
    """
    height, width = image.shape[1:3]
    box = _clipped(box, height, width)
    area = image.new_zeros(height, width)
    area[slices_of(box)] = 1
    return regions_within(look(alpha_of, image, widen_box(box, context, height, width)), area)


def under_mask(alpha_of: AlphaOf, image: Tensor, mask: Tensor, context: float = 0.25) -> Tensor:
    """Matte the subject that a coarse mask marks, with its true edge.

    Args:
        alpha_of: see above.
        image: float [1,H,W,C] in 0..1.
        mask: float [1,H,W] in 0..1, 1 = subject.
        context: share of the box's longer side; nothing farther from the mask than half of it is taken.

    Returns:
        Alpha [1,H,W] in 0..1, 0 outside the crop, all 0 where nothing was found.

    Raises:
        PackageError: kornia or SciPy is missing.
    """
    height, width = image.shape[1:3]
    box = bounding_box(mask[0], SOLID_ALPHA)
    if box is None:
        return image.new_zeros(1, height, width)
    reach = max(context / 2, LEAST_REACH) * longer_side(box)
    near = _neighbourhood(mask.to(image), reach)
    alpha = look(alpha_of, image, widen_box(box, max(context, 2 * LEAST_REACH), height, width))
    return regions_within(alpha, near[0]) * near


def at_point(alpha_of: AlphaOf, image: Tensor, x: int, y: int, context: float = 0.25) -> Tensor:
    """Matte the one region of what the network finds that lies under a pixel, in a closer crop once its size
    is known.

    A subject that the network overlooks in the whole picture is looked for in smaller parts around the point.

    Args:
        alpha_of: see above.
        image: float [1,H,W,C] in 0..1.
        x, y: column and row of the pixel, from 0.
        context: share of the box's longer side.

    Returns:
        Alpha [1,H,W] in 0..1, 0 outside the crop, all 0 where nothing was found.

    Raises:
        ValueError: the pixel lies outside the picture.
        PackageError: SciPy is missing.
    """
    height, width = image.shape[1:3]
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"the point ({x}, {y}) lies outside the picture of {width}×{height} pixels: "
                         f"x goes from 0 to {width - 1}, y from 0 to {height - 1}")
    for zoom in POINT_ZOOMS:
        seen = part_around(x, y, height, width, zoom)
        found = region_at(look(alpha_of, image, seen), x, y)
        if found.max() >= SOLID_ALPHA:
            return _closer(alpha_of, image, found, seen, x, y, context)
    return torch.zeros_like(found)


def _closer(
    alpha_of: AlphaOf, image: Tensor, found: Tensor, seen: Box, x: int, y: int, context: float
) -> Tensor:
    """The region under (x, y) as the network finds it in a crop around `found`; again while it turns out
    larger."""
    for _ in range(MAX_CLOSER_LOOKS):
        closer = widen_box(bounding_box(found[0], SOLID_ALPHA), context, *image.shape[1:3])
        if closer == seen or longer_side(closer) > CLOSER_SHARE * max(image.shape[1:3]):
            break
        again = region_at(look(alpha_of, image, closer), x, y)
        if again.max() < SOLID_ALPHA or torch.minimum(found, again).sum() < SAME_SHARE * found.sum():
            break
        found, seen = again, closer
    return found


def widen_box(box: Box, context: float, height: int, width: int) -> Box:
    """Widen a box by `context` times its longer side on every side, as far as the picture goes."""
    more = round(context * longer_side(box))
    return _clipped(Box(box.top - more, box.left - more, box.bottom + more, box.right + more), height, width)


def _clipped(box: Box, height: int, width: int) -> Box:
    clipped = Box(max(box.top, 0), max(box.left, 0), min(box.bottom, height), min(box.right, width))
    if clipped.top >= clipped.bottom or clipped.left >= clipped.right:
        raise ValueError(f"the box from ({box.left}, {box.top}) to ({box.right}, {box.bottom}) holds nothing "
                         f"of the picture of {width}×{height} pixels: x and y are its upper left corner, in "
                         "pixels")
    return clipped


def part_around(x: int, y: int, height: int, width: int, zoom: int) -> Box:
    """A part of the picture with 1 / zoom of its sides, around (x, y) but inside the picture."""
    h, w = -(-height // zoom), -(-width // zoom)
    top, left = min(max(y - h // 2, 0), height - h), min(max(x - w // 2, 0), width - w)
    return Box(top, left, top + h, left + w)


def look(alpha_of: AlphaOf, image: Tensor, box: Box) -> Tensor:
    """What the network finds in a box of the picture, alpha [1,H,W], 0 outside the box."""
    alpha = image.new_zeros(image.shape[:3])
    alpha[(slice(None), *slices_of(box))] = alpha_of(image[(slice(None), *slices_of(box))]).to(alpha)
    return alpha


def _neighbourhood(mask: Tensor, reach: float) -> Tensor:
    """1 up to `reach` pixels around mask [1,H,W] > 1/2, falling to 0 at one and a half times that:
    [1,H,W]."""
    height, width = mask.shape[1:]
    scale = min(1.0, NEIGHBOURHOOD_SIDE / max(height, width))
    small = max(round(height * scale), 1), max(round(width * scale), 1)
    near = masks.resize((mask >= SOLID_ALPHA).to(mask), small)
    near = masks.feather(masks.grow((near > 0).to(mask), 1.25 * reach * scale), 0.25 * reach * scale)
    return masks.resize(near, (height, width))


def slices_of(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.bottom), slice(box.left, box.right)


def longer_side(box: Box) -> int:
    return max(box.bottom - box.top, box.right - box.left)

