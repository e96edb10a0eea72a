"""Matte the subject that a prompt chooses, and separate it from subjects that it touches.

The network mattes everything salient in a crop, and the selector predicts which part of that the prompt
means. Against the background the subject keeps the matte's edge; between two subjects the edge is the
selector's, moved to where their colours change and aligned to the picture by a guided filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import masks
from ...imaging.boxes import Box, bounding_box
from ...imaging.flow import box_mean
from ...imaging.resize import resample
from ...masks.regions import label_regions, region_areas
from ...network.selector import SIDE, Selector, measure_distances
from ..predict import normalize_imagenet, resize_to_network
from .borders import move_borders
from .consensus import PROBES, click_everywhere, weigh, weigh_probes
from .looks import (
    CLOSER_SHARE,
    SAME_SHARE,
    SOLID_ALPHA,
    AlphaOf,
    check_point,
    in_box,
    keep_whole,
    look,
    widen_box,
)
from .prompts import STROKE_LEVEL, Prompt, draw_maps
from .search import FAINT, REGION_LEVEL, View, search

# Share of the box's longer side: with a smaller margin the network takes the subject for the background.
LEAST_CONTEXT = 0.15
EDGE_DIVISOR = 100  # the guided filter's radius is the crop's longer side divided by this
# Predicted share of a region's alpha: above the first all of it is chosen, below the second none of it.
WHOLE_SHARE, NONE_SHARE = 0.85, 0.15
FITTING_SHARE = 0.7  # instead of WHOLE_SHARE, for a region that fits the prompt's box
FITTING_IOU = 0.85   # of the box and the region's own: with more, it fits
LEAST_CLAIMED = 1e-3  # lower bound of the sum of two predictions, where their shares are computed
LEAST_DOUBT = 1e-4  # least probability of either side, where logits are computed
# The same for a closer crop, so that what the first crop chose or rejected as a whole stays so.
CLOSER_DOUBT = 1e-3
LEAST_ALPHA = 1e-4  # added to the matte where a mean is weighted by it
EDGE_CONTRAST = 2   # by which the edge between two subjects is steepened


def select(
    alpha_of: AlphaOf, selector: Selector, image: Tensor, prompt: Prompt, context: float = 0.25
) -> Tensor:
    """Matte the subject that a prompt chooses.

    Args:
        alpha_of: pictures [b,h,w,C] → alpha [b,h,w], such as `lambda x: birefnet.matte(model, x)`.
        selector: of birefnet.checkpoint.selector.load_selector.
        image: float32 [1,H,W,C] in 0..1.
        prompt: in the picture's coordinates; a box may reach beyond the picture.
        context: margin of the crop around the subject's box, as a share of the box's longer side; at least
            LEAST_CONTEXT.

    Returns:
        Alpha [1,H,W] in 0..1, all 0 if no subject was found.

    Raises:
        ValueError: the prompt is empty, lies outside the picture, or its mask has another size.
        PackageError: SciPy or kornia is missing.
    """
    height, width = image.shape[1:3]
    prompt = clip_prompt(prompt, height, width)
    context = max(context, LEAST_CONTEXT)
    if prompt.extent() is None:  # the mask is empty
        return image.new_zeros(1, height, width)
    if prompt == Prompt(box=Box(0, 0, height, width)):  # the whole picture chooses nothing
        return in_box(alpha_of, image, prompt.box, context)

    def look_at(seen: Box) -> View:
        alpha = look(alpha_of, image, seen)
        return View(seen, alpha, by_regions(alpha, ask(selector, image, alpha, prompt, seen, PROBES), prompt))

    view = search(look_at, prompt, context, height, width)
    if view is None:
        return image.new_zeros(1, height, width)
    seen, alpha, meant = view
    closer = widen_box(bounding_box(meant[0], SOLID_ALPHA), context, height, width)
    if closer.longer_side < CLOSER_SHARE * seen.longer_side:
        again = look(alpha_of, image, closer)
        both = average_crops(meant, seen, ask(selector, image, again, prompt, closer, PROBES), closer)
        meant_closer = by_regions(again, both, prompt)
        if torch.minimum(meant, meant_closer).sum() > SAME_SHARE * torch.maximum(meant, meant_closer).sum():
            alpha, meant, seen = again, meant_closer, closer
    inside, moved = (slice(None), *seen.slices), meant.clone()
    moved[inside] = move_borders(meant[inside], alpha[inside], image[inside])
    if View(seen, alpha, moved).shows(prompt, FAINT):
        meant = moved
    return part(alpha, meant, image, seen)


def select_all(alpha_of: AlphaOf, selector: Selector, image: Tensor, prompts: Sequence[Prompt]) -> Tensor:
    """The union of `select` for several prompts: alpha [1,H,W]."""
    return torch.stack([select(alpha_of, selector, image, prompt) for prompt in prompts]).amax(0)


def clip_prompt(prompt: Prompt, height: int, width: int) -> Prompt:
    """Clip a prompt's box to the picture.

    Raises:
        ValueError: a point or the whole box lies outside, a stroke or mask has another size, or there is no
            positive prompt.
    """
    for x, y in (*prompt.points, *prompt.not_points):
        check_point(x, y, height, width)
    for drawn in (prompt.scribble, prompt.mask, prompt.not_scribble):
        if drawn is not None and drawn.shape != (1, height, width):
            raise ValueError("Resize strokes and masks to the picture first: expected "
                             f"[1, {height}, {width}], got {list(drawn.shape)}")
    if not (prompt.box or prompt.points or prompt.scribble is not None or prompt.mask is not None):
        raise ValueError("Give a box, a point, a stroke or a mask of the subject: nothing says which one is "
                         "meant")
    if prompt.mask is not None and prompt.mask.max() < STROKE_LEVEL and replace(prompt, mask=None).extent():
        prompt = replace(prompt, mask=None)  # an empty one says nothing beside another prompt
    return prompt if prompt.box is None else replace(prompt, box=widen_box(prompt.box, 0.0, height, width))


@torch.inference_mode()
def ask(selector: Selector, image: Tensor, alpha: Tensor, prompt: Prompt, seen: Box, probes: int = 0
        ) -> Tensor:
    """Predict with the selector how probable it is that each pixel belongs to the chosen subject.

    Args:
        selector: the selector.
        image: float [1,H,W,C] in 0..1.
        alpha: [1,H,W], the matte of everything salient in the crop.
        prompt: in the picture's coordinates.
        seen: the crop, in pixels.
        probes: number of clicks elsewhere with which the prediction is compared, see `weigh_probes`.

    Returns:
        float [1,H,W] in 0..1, 0 outside the crop.
    """
    matte, predict = prepare(selector, image, alpha, seen)
    maps = torch.cat([draw_maps(prompt, seen, SIDE // 2).to(matte), matte], 1)
    meant = predict(maps)
    # With negative points, what they mark is predicted too: of a pixel that both claim, each keeps its share.
    if maps[0, 0].any() and maps[0, 1].any() and prompt.not_points:
        swapped = torch.zeros_like(maps)
        swapped[:, [0, 1, 4]] = maps[:, [1, 0, 4]]
        meant = meant * (meant / (meant + predict(swapped)).clamp(min=LEAST_CLAIMED))
    if probes:
        meant = weigh_probes(meant, maps, predict, probes)
    return enlarge(meant, alpha, seen)


@torch.inference_mode()
def recognise(
    selector: Selector, image: Tensor, alpha: Tensor, seen: Box, judge: Callable[[Tensor], Tensor],
    probes: int,
) -> Tensor:
    """Predict without a prompt which part of a matte is a subject that is known by its looks.

    Args:
        selector, image, alpha, seen: as for `ask`.
        judge: from the parts [n,H,W] that clicks choose to the probability of each to be the subject, [n].
        probes: number of clicks.

    Returns:
        As `ask`.
    """
    matte, predict = prepare(selector, image, alpha, seen)
    found, _ = click_everywhere(F.pad(matte, (0, 0, 0, 0, 4, 0)), predict, probes)
    if not len(found):
        return torch.zeros_like(alpha)
    parts = torch.cat([enlarge(one[None, None], alpha, seen) for one in found])
    return enlarge(weigh(torch.zeros_like(found[:1]), found, judge(parts).to(found)), alpha, seen)


def prepare(selector: Selector, image: Tensor, alpha: Tensor, seen: Box
            ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Encode a crop of the picture.

    Returns:
        The crop's matte as the selector reads it, [1,1,SIDE/2,SIDE/2], and a function from prompts
        [n,5,SIDE/2,SIDE/2] to probabilities [n,1,SIDE/4,SIDE/4].
    """
    inside = (slice(None), *seen.slices)
    picture = selector_input(selector, image[inside])
    matte = resample(alpha[inside][:, None].float(), (SIDE // 2, SIDE // 2)).clamp(0, 1).to(picture.device)
    features = selector.encode(picture)

    def predict(maps: Tensor) -> Tensor:
        pictures, *each = (x.expand(len(maps), -1, -1, -1) for x in (picture, *features[0], *features[1]))
        shared = each[:len(features[0])], each[len(features[0]):]
        return selector(shared, maps, measure_distances(pictures, shared[1][0], maps)).sigmoid()

    return matte, predict


def enlarge(meant: Tensor, alpha: Tensor, seen: Box) -> Tensor:
    """Put probabilities [1,1,h,w] of a crop into the whole picture, [1,H,W] as `alpha`; 0 outside."""
    result = torch.zeros_like(alpha)
    inside = (slice(None), *seen.slices)
    # Logits keep the edge sharp when they are enlarged.
    logits = meant.to(alpha).logit(LEAST_DOUBT)
    result[inside] = F.interpolate(logits, alpha[inside].shape[1:], mode="bilinear",
                                   align_corners=False)[0].sigmoid()
    return result


def average_crops(first: Tensor, seen: Box, second: Tensor, closer: Box) -> Tensor:
    """Average the logits of two predictions where both crops lie; elsewhere keep the second.

    The first shows more of what is around the subject, the second more detail. On 72 composed pictures of
    subjects that the selector was trained on, the mean chose with an IoU .007 (clicks) and .015 (strokes)
    higher than the second alone.

    Args:
        first, second: probabilities [1,H,W].
        seen, closer: their crops, in pixels.
    """
    both = (slice(None), *seen.intersection(closer).slices)
    result = second.clone()
    result[both] = (first[both].logit(LEAST_DOUBT) + second[both].logit(CLOSER_DOUBT)).div(2).sigmoid()
    return result


def selector_input(selector: Selector, crop: Tensor) -> Tensor:
    """Resize and normalise a crop [1,h,w,C] for `Selector.encode`: [1,3,SIDE,SIDE] on its device."""
    picture = resize_to_network(crop[0], (SIDE, SIDE)).clamp(0, 1)
    return normalize_imagenet(picture).to(next(selector.parameters()).device)


@torch.inference_mode()
def describe(selector: Selector, image: Tensor, alpha: Tensor, seen: Box) -> Tensor:
    """Describe a subject by the selector's mean features under its matte, to recognise it in other frames.

    Args:
        selector: the selector.
        image: float [1,H,W,C] in 0..1.
        alpha: [1,H,W], the subject's matte.
        seen: the crop to describe it in, in pixels.

    Returns:
        float [C], a unit vector.
    """
    inside = (slice(None), *seen.slices)
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
    """Choose or reject connected regions of the matte as a whole, where the selector's prediction is clear.

    If there are positive points or strokes, regions that none of them touches are rejected. A region is
    chosen if more than WHOLE_SHARE of its alpha is predicted (FITTING_SHARE if it fits the prompt's box) and
    no negative point is on it, and rejected if less than `none_share` is. All other pixels keep the
    prediction.

    Args:
        alpha: [1,H,W], the matte of everything salient.
        meant: [1,H,W] in 0..1, from `ask`.
        prompt: in the picture's coordinates.
        whole: False: regions are only rejected, never chosen as a whole.
        none_share: share of a region's alpha below which it is rejected.

    Returns:
        float [1,H,W] in 0..1, the probability that each pixel belongs to the chosen subject.
    """
    labels, (share,) = region_shares(alpha, meant)
    count = len(share)
    if not count:
        return meant
    full, none = (share > WHOLE_SHARE) & whole, share < none_share
    if prompt.box is not None:
        full |= np.array([whole and share[i] > FITTING_SHARE and fits(labels == i + 1, prompt.box)
                          for i in range(count)])
    touched = prompt.touched(tuple(meant.shape[1:]))
    if touched is not None:
        under = np.zeros(count + 1, bool)
        under[labels[touched]] = True
        none |= ~under[1:]
    full &= ~none
    full &= ~np.isin(np.arange(1, count + 1), [labels[y, x] for x, y in prompt.not_points])
    decided = np.concatenate([[np.nan], np.where(full, 1.0, np.where(none, 0.0, np.nan))])[labels]
    decided = torch.from_numpy(decided[None]).to(meant)
    return torch.where(decided.isnan(), meant, decided)


def region_shares(alpha: Tensor, *parts: Tensor) -> tuple[np.ndarray, list[np.ndarray]]:
    """Label the regions of a matte, and measure which share of each region's alpha belongs to a part.

    Args:
        alpha: [1,H,W] in 0..1.
        parts: [1,H,W] in 0..1 each, the share of every pixel's alpha.

    Returns:
        Labels [H,W], 0 outside of regions and else 1..n; and for each part the regions' shares, [n].
    """
    values = alpha[0].float().cpu().numpy()
    labels, count = label_regions(values >= REGION_LEVEL, diagonal=True)
    areas = region_areas(values, labels, count)
    return labels, [region_areas(values * part[0].float().cpu().numpy(), labels, count) / areas
                    for part in parts]


def fits(region: np.ndarray, box: Box) -> bool:
    """Whether a box is the one around a region, bool [H,W], as far as a hand draws it."""
    own = bounding_box(torch.from_numpy(region), 1)
    height = min(own.bottom, box.bottom) - max(own.top, box.top)
    width = min(own.right, box.right) - max(own.left, box.left)
    shared = max(height, 0) * max(width, 0)
    areas = (one.height * one.width for one in (own, box))
    return shared > FITTING_IOU * (sum(areas) - shared)


def part(alpha: Tensor, meant: Tensor, image: Tensor, seen: Box) -> Tensor:
    """Cut the chosen subject out of the matte of everything salient.

    Args:
        alpha: [1,H,W], the matte.
        meant: [1,H,W] in 0..1, from `by_regions`.
        image: float [1,H,W,C] in 0..1.
        seen: the crop that was matted, in pixels.

    Returns:
        Alpha [1,H,W]. Its edge is the matte's towards the background, the picture's towards other subjects.
    """
    inside = (slice(None), *seen.slices)
    everything, share = alpha[inside], meant[inside]
    # The chosen share of the alpha around each pixel: 1 along the subject's soft edge to the background.
    side = 2 * max(1, round(seen.longer_side / SIDE)) + 1
    weight = (everything + LEAST_ALPHA)[:, None]
    share = (box_mean(share[:, None] * weight, side) / box_mean(weight, side))[:, 0]
    share = masks.guided_edges(share, image[inside], max(1, seen.longer_side // EDGE_DIVISOR))
    result = torch.zeros_like(alpha)
    result[inside] = everything * ((share - 0.5) * EDGE_CONTRAST + 0.5).clamp(0, 1)
    return result


def select_each(
    alpha_of: AlphaOf,
    selector: Selector,
    image: Tensor,
    points: Sequence[tuple[int, int]],
    not_points: Sequence[tuple[int, int]] = (),
    context: float = 0.25,
) -> Tensor:
    """Matte the subjects under several points, which may be one or many.

    Points on one region of the whole picture's matte are tried as one prompt; one that the result leaves out
    is matted alone and added. Points on different regions are different subjects.

    Args:
        alpha_of, selector, image, context: as for `select`.
        points: pixels (x, y) of subjects, counted from 0.
        not_points: pixels (x, y) of anything else.

    Returns:
        Alpha [1,H,W] in 0..1.

    Raises:
        ValueError: there are no points, or one lies outside the picture.
        PackageError: SciPy or kornia is missing.
    """
    groups: dict[object, list[tuple[int, int]]] = {}
    alpha_of = keep_whole(alpha_of, image)
    if len(points) > 1:
        height, width = image.shape[1:3]
        for x, y in points:
            check_point(x, y, height, width)
        everything = look(alpha_of, image, Box(0, 0, height, width))
        labels, _ = label_regions(everything[0].cpu().numpy() >= REGION_LEVEL, diagonal=True)
        for x, y in points:
            groups.setdefault(labels[y, x] or (x, y), []).append((x, y))
    found = None
    for group in groups.values() or [points]:
        whole = Prompt(points=tuple(group), not_points=tuple(not_points))
        chosen = select(alpha_of, selector, image, whole, context)
        for point in group if len(group) > 1 else ():
            if chosen[0, point[1], point[0]] < SOLID_ALPHA:
                one = replace(whole, points=(point,))
                chosen = chosen.maximum(select(alpha_of, selector, image, one, context))
        found = chosen if found is None else found.maximum(chosen)
    return found
