"""One subject among several: by a box, a point or a coarse mask, the network looking at a crop around it.

Every function takes one picture [1,H,W,C] and `alpha_of`, pictures [b,h,w,C] -> alpha [b,h,w], say
`lambda x: birefnet.matte(model, x)`; it returns alpha [1,H,W] of the picture's size, 0 outside the crop, and all 0 where
nothing was found. `context` is how far the crop goes beyond the subject's box, as a share of the box's longer side:
a network needs to see what the subject stands out from.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .. import masks
from ..imaging.boxes import Box, bounds
from ..masks.pick import region_at, regions_within

AlphaOf = Callable[[Tensor], Tensor]

SOLID = 0.5         # alpha that some pixel must reach for a subject to count as found, and of a coarse mask's inside
ZOOMS = (1, 2, 4)   # a point's subject is sought in the whole picture, then in a half and in a quarter around the point
SAME = 0.5          # of what was found first, that a closer look must show too to be one at the same subject
LOOKS = 2           # closer ones, at most
WORTH_IT = 0.75     # of the picture's longer side: a closer look must be smaller than that
LEAST_REACH = 0.02  # of a coarse mask's box: how far at least the subject may go beyond it
COARSE = 256        # pixels to a side at which a coarse mask's neighbourhood is measured


def in_box(alpha_of: AlphaOf, image: Tensor, box: Box, context: float = 0.25) -> Tensor:
    """The subject in a box: of what the network finds there and around it, the pieces that lie mostly in the box."""
    height, width = image.shape[1:3]
    box = _clipped(box, height, width)
    area = image.new_zeros(height, width)
    area[_slices(box)] = 1
    return regions_within(_look(alpha_of, image, widened(box, context, height, width)), area)


def under_mask(alpha_of: AlphaOf, image: Tensor, mask: Tensor, context: float = 0.25) -> Tensor:
    """The subject that a coarse mask [1,H,W] marks (1 = subject), with its true edge, and nothing that lies farther
    from the mask than half of the context."""
    height, width = image.shape[1:3]
    box = bounds(mask[0], SOLID)
    if box is None:
        return image.new_zeros(1, height, width)
    reach = max(context / 2, LEAST_REACH) * _longer(box)
    near = _neighbourhood(mask.to(image), reach)
    alpha = _look(alpha_of, image, widened(box, max(context, 2 * LEAST_REACH), height, width))
    return regions_within(alpha, near[0]) * near


def at_point(alpha_of: AlphaOf, image: Tensor, x: int, y: int, context: float = 0.25) -> Tensor:
    """The one piece of what the network finds that lies under the pixel (x, y), looked at closer once it is known how
    large it is. A subject that the network overlooks in the whole picture is sought in smaller parts around the point."""
    height, width = image.shape[1:3]
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"the point ({x}, {y}) lies outside the picture of {width}×{height} pixels: "
                         f"x goes from 0 to {width - 1}, y from 0 to {height - 1}")
    for zoom in ZOOMS:
        seen = _part(x, y, height, width, zoom)
        found = region_at(_look(alpha_of, image, seen), x, y)
        if found.max() >= SOLID:
            return _closer(alpha_of, image, found, seen, x, y, context)
    return torch.zeros_like(found)


def _closer(alpha_of: AlphaOf, image: Tensor, found: Tensor, seen: Box, x: int, y: int, context: float) -> Tensor:
    """The piece under (x, y) as the network finds it in a crop around `found`; again while it turns out larger."""
    for _ in range(LOOKS):
        closer = widened(bounds(found[0], SOLID), context, *image.shape[1:3])
        if closer == seen or _longer(closer) > WORTH_IT * max(image.shape[1:3]):
            break
        again = region_at(_look(alpha_of, image, closer), x, y)
        if again.max() < SOLID or torch.minimum(found, again).sum() < SAME * found.sum():
            break
        found, seen = again, closer
    return found


def widened(box: Box, context: float, height: int, width: int) -> Box:
    """The box and `context` times its longer side more on every side, as far as the picture goes."""
    more = round(context * _longer(box))
    return _clipped(Box(box.top - more, box.left - more, box.bottom + more, box.right + more), height, width)


def _clipped(box: Box, height: int, width: int) -> Box:
    clipped = Box(max(box.top, 0), max(box.left, 0), min(box.bottom, height), min(box.right, width))
    if clipped.top >= clipped.bottom or clipped.left >= clipped.right:
        raise ValueError(f"the box from ({box.left}, {box.top}) to ({box.right}, {box.bottom}) holds nothing of the "
                         f"picture of {width}×{height} pixels: x and y are its upper left corner, in pixels")
    return clipped


def _part(x: int, y: int, height: int, width: int, zoom: int) -> Box:
    """A part of the picture as large as 1 / zoom of its sides, around (x, y) but inside."""
    h, w = -(-height // zoom), -(-width // zoom)
    top, left = min(max(y - h // 2, 0), height - h), min(max(x - w // 2, 0), width - w)
    return Box(top, left, top + h, left + w)


def _look(alpha_of: AlphaOf, image: Tensor, box: Box) -> Tensor:
    """What the network finds in a box of the picture, [1,H,W], 0 outside the box."""
    alpha = image.new_zeros(image.shape[:3])
    alpha[(slice(None), *_slices(box))] = alpha_of(image[(slice(None), *_slices(box))]).to(alpha)
    return alpha


def _neighbourhood(mask: Tensor, reach: float) -> Tensor:
    """1 up to `reach` pixels around mask [1,H,W] > 1/2, falling to 0 at one and a half times that."""
    height, width = mask.shape[1:]
    scale = min(1.0, COARSE / max(height, width))
    small = max(round(height * scale), 1), max(round(width * scale), 1)
    near = masks.resize((mask >= SOLID).to(mask), small)
    near = masks.feather(masks.grow((near > 0).to(mask), 1.25 * reach * scale), 0.25 * reach * scale)
    return masks.resize(near, (height, width))


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.bottom), slice(box.left, box.right)


def _longer(box: Box) -> int:
    return max(box.bottom - box.top, box.right - box.left)

