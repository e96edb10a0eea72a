"""The same subject through the frames of a clip, in constant memory.

The subject's last matte, and that of all other things, move along the optical flow; in a crop that follows,
the network mattes what stands out, and the selector says which part of it continues the subject. What it
looks like is remembered, so that it is found again after it was hidden, had left, or after a cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...imaging.boxes import Box, bounding_box
from ...imaging.flow import box_mean, resize_flow, warp
from ...imaging.resize import resample
from ...masks.regions import label_regions, region_areas
from ...network.selector import Selector
from ..temporal import CUT_TRUST, estimate_motion, small_luma
from .looks import SOLID_ALPHA, AlphaOf, look, slices_of, widen_box
from .prompts import Prompt
from .select import REGION_LEVEL, ask, by_regions, describe, part

CONTEXT = 0.3            # of the subject's box, around it
STATE_SIDE = 640         # pixels: longer side at which mattes are carried from frame to frame
LEAST_SHARE = 0.08       # of the subject's usual area: smaller parts in view do not count
MEMORY_SHARE = 0.95      # share of the past in what is remembered of the subject
COLOURS = 6              # levels of each colour in a histogram
CANDIDATES = 4           # regions of a frame that are compared with what is remembered
LEAST_LIKENESS = 0.88    # of the subject's usual likeness to what is remembered: less is something else
FOUND_LIKENESS = 0.8     # the same where it is looked for: a part of it may be in view
SURE_LIKENESS = 0.95     # of it: from there on its looks are remembered
CLEARER = 0.05           # likeness: so much more like the subject than like others is what belongs to it
PART_LIKENESS = 0.7      # of the usual likeness: less, even of a small part of it, is something else
LEAST_SHADE = 0.2        # trust in a pixel's colour alone ends here
LEAST_CLAIM = 0.03       # trust in the flow ends here: so much may have changed hands
APART_SHARE = 0.02       # of a region: with no more of the subject in it, it is another thing
NEAR_SHARE = 0.01        # of the longer side: what is nearer to another thing belongs to it


@dataclass
class Memory:
    """What something looks like: a histogram of its colours, and its mean features."""

    colours: Tensor      # [COLOURS³], sum 1
    features: Tensor     # [C], length 1

    def likeness(self, other: Memory) -> float:
        """0..1."""
        return float(torch.minimum(self.colours, other.colours).sum() / 2
                     + (self.features @ other.features).clamp(min=0) / 2)

    def updated(self, now: Memory) -> Memory:
        return Memory(torch.lerp(now.colours, self.colours, MEMORY_SHARE),
                      F.normalize(torch.lerp(now.features, self.features, MEMORY_SHARE), dim=0))


class Follower:
    """Follows a subject: `begin` with its matte in one frame, then one call for each next frame, in either
    direction.

    Args:
        alpha_of: pictures [b,h,w,C] → alpha [b,h,w].
        selector: of birefnet.checkpoint.selector.load_selector.

    `lost`: whether it was not found in the last frame. `cuts`: how many were met.
    """

    def __init__(self, alpha_of: AlphaOf, selector: Selector) -> None:
        self.alpha_of, self.selector = alpha_of, selector
        self.lost, self.cuts = False, 0

    def begin(self, picture: Tensor, alpha: Tensor) -> None:
        """Takes the subject's matte [1,H,W] in a picture [1,H,W,C].

        Raises:
            ValueError: the matte is empty.
        """
        if alpha.max() < SOLID_ALPHA:
            raise ValueError("Point at a subject: there is none under the prompt, and nothing to follow")
        everything = look(self.alpha_of, picture, whole(picture))
        self.luma = small_luma(picture)
        others = (everything - alpha).clamp(min=0)
        self._keep(alpha, others)
        self.area = float(alpha.mean())
        self.memory, self.foreign = self._describe(picture, alpha), None
        self._remember_others(picture, others)
        self.usual, self.lost = 0.9, False

    def __call__(self, picture: Tensor) -> Tensor:
        """The subject's matte [1,H,W] in the next picture [1,H,W,C]; all 0 where it is not in view."""
        before, self.luma = self.luma, small_luma(picture)
        motion, trust = estimate_motion(self.luma, before)
        cut = bool(trust.mean() < CUT_TRUST)
        self.cuts += cut
        own, others = warp(self.state, resize_flow(motion, self.state.shape[2:])).split(1, 1)
        if cut:
            own, others = torch.zeros_like(own), torch.zeros_like(others)
        own, others = (resample(mask, picture.shape[1:3])[:, 0].clamp(0, 1) for mask in (own, others))
        box = None if cut or self.lost else bounding_box(own[0], SOLID_ALPHA)
        alpha = None if box is None else self._continue(picture, box, own, others)
        if alpha is None:
            alpha = self._search(picture, others)
        return alpha

    def _continue(self, picture: Tensor, box: Box, own: Tensor, others: Tensor) -> Tensor | None:
        """The subject near where the flow has carried it; None where it is no longer in view."""
        seen = widen_box(box, CONTEXT, *picture.shape[1:3])
        everything = look(self.alpha_of, picture, seen)
        prompt = Prompt(mask=own, not_scribble=core(others, own))
        meant = claimed(ask(self.selector, picture, everything, prompt, seen), own, others)
        meant = both_tell(meant, self._shade(picture, seen))
        alpha = part(everything, parts_of(everything, meant, prompt), picture, seen)
        if alpha.max() < SOLID_ALPHA or float(alpha.mean()) < LEAST_SHARE * self.area:
            return None
        now = self._describe(picture, alpha)
        likeness = self.memory.likeness(now)
        if likeness < LEAST_LIKENESS * self.usual and not self._rather_own(now, likeness):
            return None
        self._remember(now, likeness, alpha)
        inside = torch.zeros_like(others)
        inside[:, seen.top:seen.bottom, seen.left:seen.right] = 1
        # What touches the subject and was not another's before may be a part of it that was hidden.
        left = (everything - alpha).clamp(min=0)
        away = left * apart(everything, alpha)
        self._keep(alpha, torch.where(inside > 0, torch.minimum(left, others).maximum(away), others))
        self._remember_others(picture, away)
        return alpha

    def _search(self, picture: Tensor, others: Tensor) -> Tensor:
        """The subject anywhere in the picture but in what is known as other things; all 0 where it is not."""
        everything = look(self.alpha_of, picture, whole(picture))
        near = max(1, round(NEAR_SHARE * max(picture.shape[1:3])))
        taken = F.max_pool2d((others > 0.3).float()[:, None], 2 * near + 1, 1, near)[:, 0]
        best, best_likeness = None, 0.0
        free = [(region, False) for region in self._candidates(everything * (1 - taken))]
        if len(free) > 1:  # parts of it, where something is in front
            free.append((torch.stack([region for region, _ in free]).amax(0), False))
        known = [(region, True) for region in self._candidates(everything)
                 if (region * taken).sum() > 0.5 * region.sum()]
        for region, anothers in free + (known if self.foreign is not None else []):
            others_here = torch.zeros_like(others) if anothers else others
            seen = widen_box(bounding_box(region[0], SOLID_ALPHA), CONTEXT, *picture.shape[1:3])
            closer = look(self.alpha_of, picture, seen)
            prompt = Prompt(scribble=core(region, torch.zeros_like(region)), mask=region,
                            not_scribble=core(others_here, region))
            meant = claimed(ask(self.selector, picture, closer, prompt, seen), region, others_here)
            meant = both_tell(meant, self._shade(picture, seen))
            alpha = part(closer, parts_of(closer, meant, prompt), picture, seen)
            if alpha.max() < SOLID_ALPHA or float(alpha.mean()) < LEAST_SHARE * self.area:
                continue
            now = self._describe(picture, alpha)
            likeness = self.memory.likeness(now)
            if anothers and not self._rather_own(now, likeness):
                continue
            if likeness > best_likeness:
                best, best_likeness = alpha, likeness
        self.lost = best is None or best_likeness < FOUND_LIKENESS * self.usual
        if self.lost:
            self._keep(torch.zeros_like(others), torch.minimum(everything, others))
            return torch.zeros_like(others)
        self._keep(best, (everything - best).clamp(min=0))
        return best

    def _candidates(self, alpha: Tensor) -> list[Tensor]:
        """The largest regions of a matte, each [1,H,W]."""
        labels, count = label_regions(alpha[0].cpu().numpy() >= SOLID_ALPHA, diagonal=True)
        labels = torch.from_numpy(labels).to(alpha.device)
        sizes = torch.bincount(labels.flatten(), minlength=count + 1)[1:]
        large = sizes.argsort(descending=True)[:CANDIDATES]
        least = LEAST_SHARE / 2 * self.area * alpha.numel()
        return [alpha * (labels == i + 1) for i in large.tolist() if sizes[i] >= least]

    def _keep(self, own: Tensor, others: Tensor) -> None:
        both = torch.stack([own[0], others[0]])[None].float()
        scale = min(1.0, STATE_SIDE / max(both.shape[2:]))
        self.state = resample(both, tuple(max(1, round(side * scale)) for side in both.shape[2:])).clamp(0, 1)

    def _describe(self, picture: Tensor, alpha: Tensor) -> Memory:
        seen = widen_box(bounding_box(alpha[0], SOLID_ALPHA), CONTEXT, *picture.shape[1:3])
        return Memory(histogram(picture, alpha, seen), describe(self.selector, picture, alpha, seen))

    def _rather_own(self, now: Memory, likeness: float) -> bool:
        """Whether something is clearly more like the subject than like others, as a part of it may be."""
        return (self.foreign is not None and likeness > self.foreign.likeness(now) + CLEARER
                and likeness > PART_LIKENESS * self.usual)

    def _remember_others(self, picture: Tensor, others: Tensor) -> None:
        """Once, as soon as some are clearly seen."""
        if self.foreign is None and float((others > SOLID_ALPHA).float().mean()) > LEAST_SHARE * self.area:
            self.foreign = self._describe(picture, others)

    def _shade(self, picture: Tensor, seen: Box) -> Tensor:
        """How far each pixel's colour is rather the subject's than others' [1,H,W]: 1/2 where nothing is
        known."""
        shade = torch.full(picture.shape[:3], 0.5, device=picture.device)
        if self.foreign is not None:
            inside = (slice(None), *slices_of(seen))
            index = colour_index(picture[inside][0])
            own, foreign = self.memory.colours[index], self.foreign.colours[index]
            told = (own + 1e-4) / (own + foreign + 2e-4)
            side = 2 * max(1, round(NEAR_SHARE / 2 * max(picture.shape[1:3]))) + 1
            shade[inside] = box_mean(told[None, None], side)[:, 0]
        return shade.clamp(LEAST_SHADE, 1 - LEAST_SHADE)

    def _remember(self, now: Memory, likeness: float, alpha: Tensor) -> None:
        if likeness > SURE_LIKENESS * self.usual:
            self.usual += (1 - MEMORY_SHARE) * (likeness - self.usual)
            self.memory = self.memory.updated(now)
            self.area += (1 - MEMORY_SHARE) * (float(alpha.mean()) - self.area)


def whole(picture: Tensor) -> Box:
    return Box(0, 0, *picture.shape[1:3])


def core(mask: Tensor, other: Tensor) -> Tensor:
    """The inner part of a mask [1,H,W], less what may be the other."""
    reach = max(1, round(NEAR_SHARE * max(mask.shape[1:])))
    inner = -F.max_pool2d(-(mask * (other < 0.3))[:, None], 2 * reach + 1, 1, reach)[:, 0]
    return (inner > SOLID_ALPHA).float()


def parts_of(alpha: Tensor, meant: Tensor, prompt: Prompt) -> Tensor:
    """`by_regions`, of which the subject may be a small part: another thing may be in front of it."""
    return by_regions(alpha, meant, prompt, whole=False, none_share=APART_SHARE)


def claimed(meant: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """How far each pixel is meant [1,H,W], where the frame before tells what belonged to whom: both tell
    independently."""
    known = (own + others).clamp(0, 1)
    claim = (own / (own + others).clamp(min=1e-3)).clamp(LEAST_CLAIM, 1 - LEAST_CLAIM)
    return torch.lerp(meant, both_tell(meant, claim), known)


def both_tell(one: Tensor, other: Tensor) -> Tensor:
    """The probability by two independent ones."""
    return one * other / (one * other + (1 - one) * (1 - other)).clamp(min=1e-6)


def apart(everything: Tensor, alpha: Tensor) -> Tensor:
    """1 in the regions of a matte [1,H,W] in which there is next to nothing of `alpha`, else 0."""
    values = everything[0].float().cpu().numpy()
    labels, count = label_regions(values >= REGION_LEVEL, diagonal=True)
    share = region_areas(alpha[0].float().cpu().numpy(), labels, count) / region_areas(values, labels, count)
    away = np.concatenate([[False], share < APART_SHARE])[labels]
    return torch.from_numpy(away[None]).to(everything)


def histogram(picture: Tensor, alpha: Tensor, seen: Box) -> Tensor:
    """Shares of COLOURS³ colours in a subject, [COLOURS³], softened over neighbouring ones."""
    inside = (0, slice(seen.top, seen.bottom), slice(seen.left, seen.right))
    index = colour_index(picture[inside]).flatten()
    weight = (alpha[inside] > 0.9).float().flatten()
    counts = torch.zeros(COLOURS**3, device=picture.device).index_add_(0, index, weight)
    cube = F.avg_pool3d(F.pad(counts.view(1, 1, COLOURS, COLOURS, COLOURS), (1,) * 6), 3, 1)
    return cube.flatten() / cube.sum().clamp(min=1e-6)


def colour_index(picture: Tensor) -> Tensor:
    """Which of the COLOURS³ colours each pixel of [...,C] has."""
    levels = (picture[..., :3].float().expand(*picture.shape[:-1], 3).clamp(0, 1) * (COLOURS - 1e-3)).long()
    return (levels[..., 0] * COLOURS + levels[..., 1]) * COLOURS + levels[..., 2]
