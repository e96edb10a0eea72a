"""Find a nearby frame in which the chosen subject is apart from others.

Two subjects that touch in the frame of the prompt are easily mistaken for one. In a nearby frame in which
they are apart, the prompt's points, tracked along the optical flow, tell which one is meant; or each is
followed back to the points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...files.packages import require
from ...imaging.flow import resize_flow, warp
from ...imaging.resize import limit_side, resample
from ...masks.regions import label_regions, region_areas
from ...network.selector import Selector
from ..temporal import CUT_TRUST, estimate_motion, small_luma
from .follow import Follower
from .looks import SOLID_ALPHA, AlphaOf, at_points
from .search import REGION_LEVEL

TASK = "choosing one of several subjects"  # named where SciPy is missing
PARTING_REACH = 48    # frames to search in each direction
STRIDE = 4            # every how many frames a matte is computed
CONFIRM = 2           # frames after which a gap is looked at again
SEEN_SIDE = 640       # pixels: longer side of the pictures that are matted
REGION_SIDE = 320     # pixels: longer side at which regions and points are tracked
POINT_REACH = 3.0     # pixels at REGION_SIDE: radius of the disc that is tracked for a point
LEAST_SEEN = 0.6      # of that disc's area: with less left, the point is being covered
PATCH_REACH = 4       # pixels at REGION_SIDE: half the side of the square around a point that is compared
FLAT_PATCH = 0.01     # luma: squares with smaller differences count as flat
# With less in two frames running, the point is covered: trust in the flow in the disc, correlation with the
# square in the first frame.
POINT_TRUST, POINT_LIKENESS = 0.25, 0.3
OTHER_SHARE = 0.15    # of the chosen matte: with this much in other regions, it was more than one subject
OWN_SHARE = 0.1       # of the chosen matte: with less in the regions under the points, these are no subject
GAP_SHARE = 0.02      # of the longer side: least distance between the regions

Point = tuple[int, int]
Parting = tuple[int, Callable[[Tensor], Tensor]]  # frames further, and a function: full picture → its matte


def reduce_picture(picture: Tensor) -> Tensor:
    """Reduce a picture [1,H,W,C] for `find_parting` to at most SEEN_SIDE pixels a side."""
    size = limit_side(picture.shape[1:3], SEEN_SIDE)
    return resample(picture.permute(0, 3, 1, 2).float(), size).permute(0, 2, 3, 1).clamp(0, 1)


def find_parting(
    alpha_of: AlphaOf, selector: Selector, points: Sequence[Point], pictures: Iterable[Tensor], alpha: Tensor
) -> Parting | None:
    """Find the first frame in which the subject under the points is apart from the rest of the chosen matte.

    Points that can be tracked to that frame tell which part is meant. If one is covered on the way, each part
    is followed back instead: the subject is the part that comes to lie under the points.

    Args:
        alpha_of, selector: as for `select`.
        points: on the subject, pixels (x, y) of `alpha`.
        pictures: consecutive frames [1,h,w,C] in either direction, beginning with the one that the points are
            in; see `reduce_picture`.
        alpha: [1,H,W], the matte chosen in that frame.

    Returns:
        The number of frames further, and a function that mattes the subject in that frame at the size of
        `alpha`. None if the matte stays in one piece until the frames end or the clip cuts, or if it is not
        clear which part is meant. A gap must last: CONFIRM frames later it is at least as wide, or the frames
        have ended, or the clip cuts.

    Raises:
        PackageError: SciPy or kornia is missing.
    """
    full = tuple(alpha.shape[1:])
    size = limit_side(full, REGION_SIDE)
    own = resample(alpha[:, None].float(), size).clamp(0, 1)
    passed, luma, split, next_look = [], None, None, STRIDE
    for steps, picture in enumerate(islice(pictures, PARTING_REACH + 1)):
        luma_before, luma = luma, small_luma(picture)
        passed.append((picture * 255).round().byte())  # all of them: at most 60 MB
        if luma_before is None:
            track = Track(rescale(points, full, size), resample(luma, size))
            continue
        motion, trust = estimate_motion(luma, luma_before)
        if trust.mean() < CUT_TRUST:
            break
        motion = resize_flow(motion, size)
        own = warp(own, motion)
        track.move(resample(luma, size), motion, resample(trust, size))
        if steps < next_look:
            continue
        found = resample(alpha_of(picture)[:, None].float(), size).clamp(0, 1)
        own = own * found
        before, split = split, find_split(found[0, 0].cpu().numpy(), own[0, 0].cpu().numpy(), track.places)
        looked, next_look = steps, steps + (STRIDE if split is None else CONFIRM)
        if split is not None and before is not None and split.gap >= max(before.gap, GAP_SHARE * max(size)):
            break
    if split is None or split.gap < GAP_SHARE * max(size):
        return None
    parts = [rescale(part, size, full) for part in split.parts]
    own_points = parts[0] if len(parts) == 1 else find_part_under(
        alpha_of, selector, passed[looked::-1], parts, points, alpha)
    if own_points is None:
        return None
    return looked, lambda image: at_points(alpha_of, image, own_points)


def rescale(points: Sequence[tuple[float, float]], size: tuple[int, int], other: tuple[int, int]
            ) -> list[Point]:
    """The pixels (x, y) at which points of a picture of `size` (H,W) lie at the `other` size."""
    (height, width), (h, w) = size, other
    return [(min(int((x + 0.5) * w / width), w - 1), min(int((y + 0.5) * h / height), h - 1))
            for x, y in points]


class Track:
    """Points that are tracked along the optical flow; `places` is None once one of them is covered.

    Args:
        places: points (x, y), pixels of `luma`.
        luma: [1,1,h,w], of the frame that they are in.
    """

    def __init__(self, places: Sequence[Point], luma: Tensor) -> None:
        self.places: Tensor | None = torch.tensor(places, dtype=torch.float32, device=luma.device)
        self.patches = patches_at(luma, self.places)
        self.doubts = torch.zeros(len(places), device=luma.device)
        # of the disc of each; less at the picture's border
        self.areas = draw_points(self.places, tuple(luma.shape[2:])).sum((0, 2, 3))

    def move(self, luma: Tensor, motion: Tensor, trust: Tensor) -> None:
        """Move on by one frame: its luma, the flow [1,2,h,w] to the frame before, and the trust in it."""
        if self.places is None:
            return
        around = warp(draw_points(self.places, tuple(luma.shape[2:])), motion)
        mass = around.sum((0, 2, 3))
        self.places = centroids(around)
        trusted = (around * trust).sum((0, 2, 3)) / mass.clamp(min=1e-6)
        alike = F.cosine_similarity(self.patches, patches_at(luma, self.places))
        self.doubts = torch.where((trusted < POINT_TRUST) | (alike < POINT_LIKENESS), self.doubts + 1, 0)
        if (mass < LEAST_SEEN * self.areas).any() or self.doubts.max() > 1:
            self.places = None


def patches_at(luma: Tensor, places: Tensor) -> Tensor:
    """The differences from their mean in squares around points (x, y) [n,2]: [n,m], and a small constant, so
    that flat squares are alike."""
    offsets = torch.arange(-PATCH_REACH, PATCH_REACH + 1, device=luma.device)
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    at = places[:, None, None] + torch.stack([x, y], -1)
    grid = (at + 0.5) * 2 / torch.tensor(luma.shape[:1:-1], device=luma.device) - 1
    patches = F.grid_sample(luma.expand(len(places), -1, -1, -1), grid, padding_mode="border",
                            align_corners=False).flatten(1)
    return F.pad(patches - patches.mean(1, keepdim=True), (0, 1), value=FLAT_PATCH * len(offsets))


def draw_points(places: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw a soft disc around each of the points (x, y) [n,2]: [1,n,h,w]."""
    rows, columns = (torch.arange(side, device=places.device, dtype=torch.float32) for side in size)
    squared = (rows[None, :, None] - places[:, 1, None, None]).square() + (
        columns[None, None] - places[:, 0, None, None]).square()
    return torch.exp(-squared / POINT_REACH**2)[None]


def centroids(around: Tensor) -> Tensor:
    """The centroid (x, y) of each of the maps [1,n,h,w]: [n,2]."""
    rows, columns = (torch.arange(side, device=around.device, dtype=torch.float32)
                     for side in around.shape[2:])
    mass = around[0].sum((1, 2))
    sums = torch.stack([(around[0].sum(1) * columns).sum(1), (around[0].sum(2) * rows).sum(1)], 1)
    return sums / mass[:, None]


class Split(NamedTuple):
    """A chosen matte in two or more regions."""

    gap: float                 # pixels between the first part's regions and the rest of the chosen matte
    parts: list[list[Point]]   # points (x, y) on each part; a single one where it is known to be the subject


def find_split(found: np.ndarray, own: np.ndarray, places: Tensor | None) -> Split | None:
    """Find out whether the chosen matte lies in regions that are apart.

    Args:
        found: [h,w], the matte of everything salient.
        own: [h,w], the part of it that was chosen.
        places: points (x, y) on the subject, [n,2]; None if it is not known where they are.

    Returns:
        None if it does not: a point is on no region, or nearly all or nearly nothing of `own` is in the
        regions under the points.
    """
    ndimage = require("scipy.ndimage", TASK)
    labels, count = label_regions(found >= REGION_LEVEL, diagonal=True)
    total, parts = own.sum(), []
    if places is not None:
        under = [(round(x), round(y)) for x, y in places.tolist()]
        columns, rows = np.array(under).clip(0, np.array(found.shape[::-1]) - 1).T
        if found[rows, columns].min() < SOLID_ALPHA:
            return None
        here, parts = np.isin(labels, labels[rows, columns]), [list(zip(columns.tolist(), rows.tolist()))]
    else:
        shares = region_areas(own, labels, count) / max(total, 1e-6)
        large = [i + 1 for i in np.argsort(-shares) if shares[i] >= OTHER_SHARE]
        if len(large) < 2:
            return None
        here = labels == large[0]
        for region in large:
            depth = ndimage.distance_transform_edt((labels == region) & (own > SOLID_ALPHA))
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            parts.append([(int(x), int(y))])
    inside = own[here].sum()
    rest = (own > SOLID_ALPHA) & ~here
    if inside < OWN_SHARE * total or total - inside < OTHER_SHARE * total or not rest.any():
        return None
    return Split(float(ndimage.distance_transform_edt(~here)[rest].min()), parts)


def find_part_under(
    alpha_of: AlphaOf, selector: Selector, pictures: Sequence[Tensor], parts: Sequence[list[Point]],
    points: Sequence[Point], alpha: Tensor,
) -> list[Point] | None:
    """Find the part that comes to lie under the points when it is followed to their frame.

    Args:
        alpha_of, selector: as for `select`.
        pictures: uint8 [1,h,w,C], the frames from the one in which the parts are apart to that of the points.
        parts: points (x, y) on each of them, pixels of `alpha`.
        points: on the subject, pixels (x, y) of `alpha`.
        alpha: [1,H,W], the matte of all of them, chosen in the frame of the points.

    Returns:
        That part's points; of two that both do, those of the one whose appearance the place has. None if no
        part does, or if no other part lies in the chosen matte: then only one subject was chosen.
    """
    full, size = tuple(alpha.shape[1:]), tuple(pictures[0].shape[1:3])
    chosen = resample(alpha[:, None].float(), size)[:, 0].clamp(0, 1)
    columns, rows = zip(*rescale(points, full, size))
    followed = [Followed(alpha_of, selector, pictures, rescale(part, full, size)) for part in parts]
    under = [i for i, one in enumerate(followed) if one.matte[0, rows, columns].min() >= SOLID_ALPHA]
    if not under:
        return None
    shared = torch.stack([followed[i].matte for i in under]).amin(0)
    meant = max(under, key=lambda i: followed[i].likeness(shared))
    outside = chosen * (1 - followed[meant].matte)
    others = max(float(torch.minimum(one.matte, outside).sum()) for one in followed)
    return parts[meant] if others >= OTHER_SHARE * chosen.sum() else None


class Followed:
    """What is under the points in the first picture, followed to the last: uint8 [1,h,w,C].

    Attributes:
        matte: [1,h,w], in the last picture; all 0 if nothing is under the points.
    """

    def __init__(self, alpha_of: AlphaOf, selector: Selector, pictures: Sequence[Tensor],
                 points: Sequence[Point]) -> None:
        picture = pictures[0].float() / 255
        self.matte = at_points(alpha_of, picture, points)
        if self.matte.max() < SOLID_ALPHA:
            return
        follower = Follower(alpha_of, selector)
        follower.begin(picture, self.matte)
        self.appearance, self.recogniser = follower.recogniser.own, follower.recogniser
        for other in pictures[1:]:
            picture = other.float() / 255
            self.matte = follower(picture)
        self.picture = picture

    def likeness(self, matte: Tensor) -> float:
        """How much a matte [1,h,w] of the last picture looks like the subject of the first, 0..1."""
        return self.appearance.likeness(self.recogniser.describe(self.picture, matte))
