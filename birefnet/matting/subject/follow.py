"""The same subject through the frames of a clip, in constant memory.

The last matte of the subject, and that of all other things, are warped along the optical flow. In a crop
around the warped subject the network mattes everything salient, and the selector predicts which part of it is
the subject. An appearance model (colours and features) finds the subject again after an occlusion, after it
left the picture, or after a cut.
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

CONTEXT = 0.3            # margin of the crop, as a share of the longer side of the subject's box
STATE_SIDE = 640         # pixels: longer side at which mattes are carried from frame to frame
LEAST_SHARE = 0.08       # of the subject's usual area: smaller parts do not count as in view
MEMORY_SHARE = 0.95      # decay of the appearance model's moving averages, per frame
COLOURS = 6              # levels of each colour channel in a histogram
CANDIDATES = 4           # largest regions of a frame that are compared with the appearance model
# Likeness to the appearance model, as a share of the subject's usual likeness:
LEAST_LIKENESS = 0.88    # below it a region that the flow leads to is something else
FOUND_LIKENESS = 0.8     # below it a region of the whole picture is something else; it may be a part
SURE_LIKENESS = 0.95     # from it on the model is updated
PART_LIKENESS = 0.7      # below it even a small part is something else
CLEARER = 0.05           # likeness by which a part must resemble the subject more than other things
LEAST_SHADE = 0.2        # lower bound of the probability from a pixel's colour; the upper one is 1 minus it
OWN_SHADE = 0.65         # probability from a pixel's colour from which it is no longer another thing's
LEAST_CLAIM = 0.03       # lower bound of the probability from the flow, likewise
ALONE_SHARE = 0.3        # of a region without another thing: with more of the subject, all of it is it
APART_SHARE = 0.02       # a region of which at most this share is the subject is another thing
NEAR_SHARE = 0.01        # of the picture's longer side: how far other things are dilated


@dataclass
class Memory:
    """An appearance model: a histogram of colours, and mean features."""

    colours: Tensor      # [COLOURS³], sums to 1
    features: Tensor     # [C], a unit vector

    def likeness(self, other: Memory) -> float:
        """Mean of the histograms' intersection and the features' cosine, 0..1."""
        return float(torch.minimum(self.colours, other.colours).sum() / 2
                     + (self.features @ other.features).clamp(min=0) / 2)

    def updated(self, now: Memory) -> Memory:
        """The moving average after one more frame."""
        return Memory(torch.lerp(now.colours, self.colours, MEMORY_SHARE),
                      F.normalize(torch.lerp(now.features, self.features, MEMORY_SHARE), dim=0))


class Follower:
    """Follows a subject: call `begin` with its matte in one frame, then the object with each further frame,
    in either direction.

    Args:
        alpha_of: pictures [b,h,w,C] → alpha [b,h,w].
        selector: of birefnet.checkpoint.selector.load_selector.

    Attributes:
        lost: whether the subject was not found in the last frame.
        cuts: number of cuts so far.
    """

    def __init__(self, alpha_of: AlphaOf, selector: Selector) -> None:
        self.alpha_of, self.selector = alpha_of, selector
        self.lost, self.cuts = False, 0

    def begin(self, picture: Tensor, alpha: Tensor) -> None:
        """Start at a frame.

        Args:
            picture: float [1,H,W,C] in 0..1.
            alpha: [1,H,W], the subject's matte in it.

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
        """Matte the subject in the next picture [1,H,W,C]: alpha [1,H,W], all 0 where it is not in view."""
        before, self.luma = self.luma, small_luma(picture)
        motion, trust = estimate_motion(self.luma, before)
        cut = bool(trust.mean() < CUT_TRUST)
        self.cuts += cut
        own, others = warp(self.state, resize_flow(motion, self.state.shape[2:])).split(1, 1)
        if cut:
            own, others = torch.zeros_like(own), torch.zeros_like(others)
        own, others = (resample(mask, picture.shape[1:3])[:, 0].clamp(0, 1) for mask in (own, others))
        # Where the subject comes out from behind another thing, the flow takes it for that thing.
        others = others * (self._shade(picture, whole(picture)) < OWN_SHADE)
        box = None if cut or self.lost else bounding_box(own[0], SOLID_ALPHA)
        alpha = None if box is None else self._continue(picture, box, own, others)
        if alpha is None:
            alpha = self._search(picture, others)
        return alpha

    def state_dict(self) -> dict:
        """All that the next call depends on, as numbers, tensors and dicts of them."""
        return {name: vars(value) if isinstance(value, Memory) else value
                for name, value in vars(self).items() if name not in ("alpha_of", "selector")}

    def load_state_dict(self, state: dict) -> None:
        """Continue from a `state_dict` whose tensors are on the pictures' device."""
        for name, value in state.items():
            setattr(self, name, Memory(**value) if isinstance(value, dict) else value)

    def _continue(self, picture: Tensor, box: Box, own: Tensor, others: Tensor) -> Tensor | None:
        """Matte the subject near its warped matte `own`; None if it is no longer in view."""
        seen = widen_box(box, CONTEXT, *picture.shape[1:3])
        everything = look(self.alpha_of, picture, seen)
        prompt = Prompt(mask=own, not_scribble=core(others, own))
        meant = with_claim(ask(self.selector, picture, everything, prompt, seen), own, others)
        meant = combine(meant, self._shade(picture, seen))
        meant = unite_alone(everything, parts_of(everything, meant, prompt), others)
        alpha = part(everything, meant, picture, seen)
        if alpha.max() < SOLID_ALPHA or float(alpha.mean()) < LEAST_SHARE * self.area:
            return None
        now = self._describe(picture, alpha)
        likeness = self.memory.likeness(now)
        if likeness < LEAST_LIKENESS * self.usual and not self._rather_own(now, likeness):
            return None
        self._remember(now, likeness, alpha)
        inside = torch.zeros_like(others)
        inside[:, seen.top:seen.bottom, seen.left:seen.right] = 1
        # A region that touches the subject and was no other thing before may be a part that was hidden.
        left = (everything - alpha).clamp(min=0)
        away = left * apart(everything, alpha)
        self._keep(alpha, torch.where(inside > 0, torch.minimum(left, others).maximum(away), others))
        self._remember_others(picture, away)
        return alpha

    def _search(self, picture: Tensor, others: Tensor) -> Tensor:
        """Look for the subject in the whole picture, outside of the known other things; all 0 if it is not
        found."""
        everything = look(self.alpha_of, picture, whole(picture))
        near = max(1, round(NEAR_SHARE * max(picture.shape[1:3])))
        taken = F.max_pool2d((others > 0.3).float()[:, None], 2 * near + 1, 1, near)[:, 0]
        best, best_likeness = None, 0.0
        free = [(region, False) for region in self._candidates(everything * (1 - taken))]
        if len(free) > 1:  # parts of one subject, where something stands in front of it
            free.append((torch.stack([region for region, _ in free]).amax(0), False))
        known = [(region, True) for region in self._candidates(everything)
                 if (region * taken).sum() > 0.5 * region.sum()]
        for region, anothers in free + (known if self.foreign is not None else []):
            others_here = torch.zeros_like(others) if anothers else others
            seen = widen_box(bounding_box(region[0], SOLID_ALPHA), CONTEXT, *picture.shape[1:3])
            closer = look(self.alpha_of, picture, seen)
            prompt = Prompt(scribble=core(region, torch.zeros_like(region)), mask=region,
                            not_scribble=core(others_here, region))
            meant = with_claim(ask(self.selector, picture, closer, prompt, seen), region, others_here)
            meant = combine(meant, self._shade(picture, seen))
            alpha = part(closer, parts_of(closer, meant, prompt), picture, seen)
            if alpha.max() < SOLID_ALPHA or float(alpha.mean()) < LEAST_SHARE * self.area:
                continue
            now = self._describe(picture, alpha)
            likeness = self.memory.likeness(now)
            found = not anothers and likeness >= FOUND_LIKENESS * self.usual
            if likeness > best_likeness and (found or self._rather_own(now, likeness)):
                best, best_likeness = alpha, likeness
        self.lost = best is None
        if self.lost:
            self._keep(torch.zeros_like(others), torch.minimum(everything, others))
            return torch.zeros_like(others)
        self._keep(best, (everything - best).clamp(min=0))
        return best

    def _candidates(self, alpha: Tensor) -> list[Tensor]:
        """The CANDIDATES largest regions of a matte [1,H,W], each as a matte."""
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
        """Whether an appearance resembles the subject clearly more than the other things; a part may not
        resemble the whole much."""
        return (self.foreign is not None and likeness > self.foreign.likeness(now) + CLEARER
                and likeness > PART_LIKENESS * self.usual)

    def _remember_others(self, picture: Tensor, others: Tensor) -> None:
        """Model the appearance of other things, once, in the first frame in which they are large enough."""
        if self.foreign is None and float((others > SOLID_ALPHA).float().mean()) > LEAST_SHARE * self.area:
            self.foreign = self._describe(picture, others)

    def _shade(self, picture: Tensor, seen: Box) -> Tensor:
        """Probability [1,H,W] that a pixel's colour is the subject's and not that of other things; 1/2
        without a model of these."""
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
    """The inner part of a mask [1,H,W] without the pixels of `other`."""
    reach = max(1, round(NEAR_SHARE * max(mask.shape[1:])))
    inner = -F.max_pool2d(-(mask * (other < 0.3))[:, None], 2 * reach + 1, 1, reach)[:, 0]
    return (inner > SOLID_ALPHA).float()


def parts_of(alpha: Tensor, meant: Tensor, prompt: Prompt) -> Tensor:
    """`by_regions` for a subject that may be a small part of a region, behind another thing."""
    return by_regions(alpha, meant, prompt, whole=False, none_share=APART_SHARE)


def unite_alone(alpha: Tensor, meant: Tensor, others: Tensor) -> Tensor:
    """Count a region of the matte [1,H,W] as a whole if the subject is in it and no other thing was before.

    A network that sees single crops would else lose more of the subject in every frame.

    Args:
        alpha: the matte of everything salient.
        meant: the probability of the subject, from `parts_of`.
        others: the warped matte of other things.
    """
    values = alpha[0].float().cpu().numpy()
    labels, count = label_regions(values >= REGION_LEVEL, diagonal=True)
    areas = region_areas(values, labels, count)
    own, foreign = (region_areas(values * mask[0].float().cpu().numpy(), labels, count) / areas
                    for mask in (meant, others))
    alone = np.concatenate([[False], (own > ALONE_SHARE) & (foreign < APART_SHARE)])[labels]
    return torch.where(torch.from_numpy(alone[None]).to(meant.device), 1.0, meant)


def with_claim(meant: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """The selector's probability [1,H,W], combined with that from the warped mattes of the frame before where
    these show something."""
    known = (own + others).clamp(0, 1)
    claim = (own / (own + others).clamp(min=1e-3)).clamp(LEAST_CLAIM, 1 - LEAST_CLAIM)
    return torch.lerp(meant, combine(meant, claim), known)


def combine(one: Tensor, other: Tensor) -> Tensor:
    """Combine two independent probabilities of the same event (Bayes' rule, prior 1/2)."""
    return one * other / (one * other + (1 - one) * (1 - other)).clamp(min=1e-6)


def apart(everything: Tensor, alpha: Tensor) -> Tensor:
    """1 in the regions of a matte [1,H,W] of which at most APART_SHARE is in `alpha`, else 0."""
    values = everything[0].float().cpu().numpy()
    labels, count = label_regions(values >= REGION_LEVEL, diagonal=True)
    share = region_areas(alpha[0].float().cpu().numpy(), labels, count) / region_areas(values, labels, count)
    away = np.concatenate([[False], share < APART_SHARE])[labels]
    return torch.from_numpy(away[None]).to(everything)


def histogram(picture: Tensor, alpha: Tensor, seen: Box) -> Tensor:
    """Histogram of a subject's colours, [COLOURS³], smoothed over neighbouring colours; sums to 1."""
    inside = (0, slice(seen.top, seen.bottom), slice(seen.left, seen.right))
    index = colour_index(picture[inside]).flatten()
    weight = (alpha[inside] > 0.9).float().flatten()
    counts = torch.zeros(COLOURS**3, device=picture.device).index_add_(0, index, weight)
    cube = F.avg_pool3d(F.pad(counts.view(1, 1, COLOURS, COLOURS, COLOURS), (1,) * 6), 3, 1)
    return cube.flatten() / cube.sum().clamp(min=1e-6)


def colour_index(picture: Tensor) -> Tensor:
    """The histogram bin of each pixel of [...,C]."""
    levels = (picture[..., :3].float().expand(*picture.shape[:-1], 3).clamp(0, 1) * (COLOURS - 1e-3)).long()
    return (levels[..., 0] * COLOURS + levels[..., 1]) * COLOURS + levels[..., 2]
