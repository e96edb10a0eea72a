"""The subject that a prompt means, whole, and parted from what touches it.

The network mattes all that stands out in a crop; the selector says which part of it is meant; the matte's own
edge is kept, and between two subjects the edge is the selector's, moved to the picture's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import masks
from ...imaging.boxes import Box, bounding_box
from ...imaging.flow import box_mean
from ...imaging.resize import over_grey, resample
from ...masks.regions import label_regions, region_areas
from ...network.config import IMAGENET_MEAN, IMAGENET_STD
from ...network.selector import SIDE, Selector, measure_distances
from .looks import (
    CLOSER_SHARE,
    POINT_ZOOMS,
    SAME_SHARE,
    SOLID_ALPHA,
    AlphaOf,
    in_box,
    longer_side,
    look,
    part_around,
    slices_of,
    widen_box,
)
from .prompts import Prompt, draw_maps

# of the subject's box: with less around it the network takes the subject for the ground
LEAST_CONTEXT = 0.15
EDGE_SHARE = 100        # between two subjects the edge is sought within a 100th of the crop's longer side
REGION_LEVEL = 0.3      # alpha of the pixels that join a region
WHOLE_SHARE, NONE_SHARE = 0.8, 0.15  # of a region, beyond which it is meant as a whole, or not at all
FAINT = 0.05            # alpha below which nothing stands out


def select(
    alpha_of: AlphaOf, selector: Selector, image: Tensor, prompt: Prompt, context: float = 0.25
) -> Tensor:
    """Matte the subject that a prompt means.

    Args:
        alpha_of: pictures [b,h,w,C] → alpha [b,h,w], such as `lambda x: birefnet.matte(model, x)`.
        selector: of birefnet.checkpoint.selector.load_selector.
        image: float [1,H,W,C] in 0..1.
        prompt: its coordinates are the picture's; a box may reach beyond it.
        context: how far the crop reaches beyond the subject's box, as a share of the box's longer side.

    Returns:
        Alpha [1,H,W] in 0..1, all 0 where no subject was found.

    Raises:
        ValueError: the prompt names nothing, or something outside the picture.
        PackageError: SciPy or kornia is missing.
    """
    height, width = image.shape[1:3]
    prompt = checked(prompt, height, width)
    extent, context = prompt.extent(), max(context, LEAST_CONTEXT)
    if extent is None:  # an empty mask
        return image.new_zeros(1, height, width)
    if prompt == Prompt(box=Box(0, 0, height, width)):  # nothing is chosen
        return in_box(alpha_of, image, prompt.box, context)
    for seen in first_views(prompt, extent, context, height, width):
        alpha = look(alpha_of, image, seen)
        meant = by_regions(alpha, ask(selector, image, alpha, prompt, seen), prompt)
        if prompt.touches(meant * (alpha > FAINT)) >= SOLID_ALPHA:
            break
    else:
        return image.new_zeros(1, height, width)
    closer = widen_box(bounding_box(meant[0], SOLID_ALPHA), context, height, width)
    if longer_side(closer) < CLOSER_SHARE * longer_side(seen):
        again = look(alpha_of, image, closer)
        surer = by_regions(again, ask(selector, image, again, prompt, closer), prompt)
        if torch.minimum(meant, surer).sum() > SAME_SHARE * torch.maximum(meant, surer).sum():
            alpha, meant, seen = again, surer, closer
    return part(alpha, meant, image, seen)


def checked(prompt: Prompt, height: int, width: int) -> Prompt:
    """The prompt with its box inside the picture; ValueError where something of it lies outside."""
    for x, y in (*prompt.points, *prompt.not_points):
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"the point ({x}, {y}) lies outside the picture of {width}×{height} pixels: "
                             f"x goes from 0 to {width - 1}, y from 0 to {height - 1}")
    if not (prompt.box or prompt.points or prompt.scribble is not None or prompt.mask is not None):
        raise ValueError("give a box, a point, a stroke or a mask of the subject: nothing says which one is "
                         "meant")
    return prompt if prompt.box is None else replace(prompt, box=widen_box(prompt.box, 0.0, height, width))


def first_views(prompt: Prompt, extent: Box, context: float, height: int, width: int) -> list[Box]:
    """Where the subject is looked for, one after the other."""
    if prompt.box is not None or prompt.mask is not None:
        return [widen_box(extent, context, height, width)]
    x, y = (extent.left + extent.right) // 2, (extent.top + extent.bottom) // 2
    views = [part_around(x, y, height, width, zoom) for zoom in POINT_ZOOMS]
    return [view for view in views if view.top <= extent.top and view.left <= extent.left
            and view.bottom >= extent.bottom and view.right >= extent.right]


@torch.inference_mode()
def ask(selector: Selector, image: Tensor, alpha: Tensor, prompt: Prompt, seen: Box) -> Tensor:
    """How far each pixel is meant, by the selector's look at a crop of the picture: [1,H,W] in 0..1, 0
    outside."""
    inside = (slice(None), *slices_of(seen))
    half = SIDE // 2
    matte = resample(alpha[inside][:, None].float(), (half, half)).clamp(0, 1)
    picture = selector_input(selector, image[inside])
    maps = torch.cat([draw_maps(prompt, seen, half), matte.cpu()], 1).to(picture.device)
    features = selector.encode(picture)
    meant = selector(features, maps, measure_distances(picture, features[1][0], maps)).sigmoid()
    if maps[0, 0].any() and maps[0, 1].any() and prompt.not_points:  # what is not wanted asks for its own
        turned = torch.zeros_like(maps)
        turned[:, [0, 1, 4]] = maps[:, [1, 0, 4]]
        others = selector(features, turned, measure_distances(picture, features[1][0], turned)).sigmoid()
        meant = meant * meant / (meant + others).clamp(min=1e-3)
    result = torch.zeros_like(alpha)
    result[inside] = F.interpolate(meant.to(alpha), alpha[inside].shape[1:], mode="bilinear",
                                   align_corners=False)[0]
    return result


def selector_input(selector: Selector, crop: Tensor) -> Tensor:
    """A crop [1,h,w,C] of a picture as `Selector.encode` takes it."""
    picture = resample(over_grey(crop).float().permute(0, 3, 1, 2), (SIDE, SIDE)).clamp(0, 1)
    mean, std = (picture.new_tensor(numbers).view(1, 3, 1, 1) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    return ((picture - mean) / std).to(next(selector.parameters()).device)


@torch.inference_mode()
def describe(selector: Selector, image: Tensor, alpha: Tensor, seen: Box) -> Tensor:
    """The mean features of what a matte [1,H,W] holds, within a crop of the picture: [C], length 1."""
    inside = (slice(None), *slices_of(seen))
    _, directions = selector.encode(selector_input(selector, image[inside]))
    means = []
    for direction in directions[1:]:
        weight = resample(alpha[inside][:, None].float(),
                          tuple(direction.shape[2:])).clamp(0, 1).to(direction)
        means.append(F.normalize((direction * weight).sum((0, 2, 3)), dim=0))
    return F.normalize(torch.cat(means), dim=0).to(alpha.device)


def by_regions(
    alpha: Tensor, meant: Tensor, prompt: Prompt, whole: bool = True, none_share: float = NONE_SHARE
) -> Tensor:
    """How far each pixel is meant [1,H,W], where whole regions of the matte are meant or are not.

    Regions that neither a point nor a stroke touches are not, where there are such; one of which most is
    meant, is as a whole, and one of which less than `none_share` is, not at all; between these the selector
    parts what touches. whole: False leaves the second of these out.
    """
    values = alpha[0].float().cpu().numpy()
    labels, count = label_regions(values >= REGION_LEVEL, diagonal=True)
    if not count:
        return meant
    share = region_areas(values * meant[0].float().cpu().numpy(), labels, count)
    share = share / region_areas(values, labels, count)
    full, none = (share > WHOLE_SHARE) & whole, share < none_share
    touched = prompt.touched(tuple(meant.shape[1:]))
    if touched is not None:
        under = np.zeros(count + 1, bool)
        under[labels[touched]] = True
        none |= ~under[1:]
    full &= ~none
    full &= ~np.isin(np.arange(1, count + 1), [labels[y, x] for x, y in prompt.not_points])
    settled = np.concatenate([[np.nan], np.where(full, 1.0, np.where(none, 0.0, np.nan))])[labels]
    settled = torch.from_numpy(settled[None]).to(meant)
    return torch.where(settled.isnan(), meant, settled)


def part(alpha: Tensor, meant: Tensor, image: Tensor, seen: Box) -> Tensor:
    """The meant part of a matte: at the ground its own edge, at other subjects the picture's. [1,H,W]."""
    inside = (slice(None), *slices_of(seen))
    all_of_it, share = alpha[inside], meant[inside]
    # What share of the alpha around a pixel is meant: 1 along the subject's soft edge with the ground.
    side = 2 * max(1, round(longer_side(seen) / SIDE)) + 1
    solid = box_mean(all_of_it[:, None] + 1e-4, side)
    share = (box_mean((share * (all_of_it + 1e-4))[:, None], side) / solid)[:, 0]
    share = masks.guided_edges(share, image[inside], max(1, longer_side(seen) // EDGE_SHARE))
    result = torch.zeros_like(alpha)
    result[inside] = all_of_it * ((share - 0.5) * 2 + 0.5).clamp(0, 1)
    return result


def select_each(
    alpha_of: AlphaOf,
    selector: Selector,
    image: Tensor,
    points: Sequence[tuple[int, int]],
    not_points: Sequence[tuple[int, int]] = (),
    context: float = 0.25,
) -> Tensor:
    """The subjects under several points together [1,H,W]: as one, and each that this leaves out; see
    `select`."""
    not_points = tuple(not_points)
    found = select(alpha_of, selector, image, Prompt(points=tuple(points), not_points=not_points), context)
    for x, y in points if len(points) > 1 else ():
        if found[0, y, x] < SOLID_ALPHA:
            one = Prompt(points=((x, y),), not_points=not_points)
            found = found.maximum(select(alpha_of, selector, image, one, context))
    return found
