"""The same subject through the frames of a clip, in constant memory.

The last matte of the subject, and that of all other things, are warped along the optical flow. In a crop
around the warped subject the network mattes everything salient; which part of it is the subject is decided by
the selector, the warped mattes, the colours, and the motion of both. The appearance finds the subject again
after an occlusion, after it left the picture, or after a cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...imaging.boxes import Box, bounding_box
from ...imaging.flow import resize_flow, warp
from ...imaging.resize import limit_side, resample
from ...masks.regions import label_regions
from ...network.selector import Selector
from ..temporal import CUT_TRUST, estimate_motion, small_luma
from .appearance import CONTEXT, FOUND_LIKENESS, LEAST_LIKENESS, LEAST_SHARE, Recogniser
from .layers import compare_motions
from .looks import SOLID_ALPHA, AlphaOf, look, widen_box
from .prompts import Prompt
from .search import REGION_LEVEL
from .selection import ask, by_regions, part, recognise, region_shares

STATE_SIDE = 640         # pixels: longer side at which mattes are carried from frame to frame
SURE_TRUST = 0.4         # of the flow: with less, what it brings along is less certain
CERTAINTY_STEP = 0.15    # by which it becomes more certain with every further frame
LEAST_CLAIM = 0.03       # lower bound of the probability from the flow; the upper one is 1 minus it
OWN_SHADE = 0.65         # probability from a pixel's colour from which it is no longer another thing's
ALONE_SHARE = 0.3        # of a region without another thing: with more of the subject, all of it is it
APART_SHARE = 0.02       # a region of which at most this share is the subject is another thing
MOST_CONTEXT = 0.8       # largest margin of the crop, as CONTEXT: more costs detail
NEAR_SHARE = 0.01        # of the picture's longer side: how far other things are dilated
CANDIDATES = 4           # largest regions of a frame that are compared with the subject's appearance
DIVIDING_CLICKS = 8      # clicks by which what was found is divided into things
SHARPNESS = 15.0         # from a difference of likenesses to a logit
BETTER = 0.05            # likeness by which a part must resemble the subject more than all that was found


@dataclass
class Expected:
    """What the last frame lets one expect in the next, each [1,H,W] in 0..1."""

    own: Tensor          # the subject's matte, warped
    others: Tensor       # that of other things
    certainty: Tensor    # of these two: what has just come into view may be either's
    moving: Tensor       # the probability that a pixel moves with the subject
    shade: Tensor        # the probability that its colour is the subject's


class Follower:
    """Follows a subject: call `begin` with its matte in one frame, then the object with each further frame,
    in either direction.

    Args:
        alpha_of: pictures [b,h,w,C] → alpha [b,h,w].
        selector: of birefnet.checkpoint.selector.load_selector.

    Attributes:
        lost: whether the subject was not found in the last frame.
        luma: [1,1,h,w], of the last picture.
        state: [1,3,h,w], the mattes of the subject and of other things in it, and the certainty of both.
        recogniser: the appearance of both.
    """

    def __init__(self, alpha_of: AlphaOf, selector: Selector) -> None:
        self.alpha_of, self.selector = alpha_of, selector
        self.lost = False

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
        self.luma, self.lost = small_luma(picture), False
        others = (everything - alpha).clamp(min=0)
        self._keep(alpha, others)
        self.recogniser = Recogniser(self.selector, picture, alpha)
        self.recogniser.learn_others(picture, others)

    def __call__(self, picture: Tensor) -> Tensor:
        """Matte the subject in the next picture [1,H,W,C]: alpha [1,H,W], all 0 where it is not in view."""
        expected = self._expect(picture)
        box = None if self.lost else bounding_box(expected.own[0], SOLID_ALPHA)
        alpha = None if box is None else self._continue(picture, box, expected)
        return self._search(picture, expected.others) if alpha is None else alpha

    def state_dict(self) -> dict:
        """All that the next call depends on, as numbers, tensors and dicts of them."""
        kept = {name: value for name, value in vars(self).items() if name not in ("alpha_of", "selector")}
        return {**kept, "recogniser": self.recogniser.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Continue from a `state_dict` whose tensors are on the pictures' device."""
        vars(self).update(state)
        self.recogniser = Recogniser.from_state(self.selector, state["recogniser"])

    def _expect(self, picture: Tensor) -> Expected:
        before, self.luma = self.luma, small_luma(picture)
        motion, trust = estimate_motion(self.luma, before)
        size, full = tuple(self.state.shape[2:]), tuple(picture.shape[1:3])
        if trust.mean() < CUT_TRUST:
            nothing = picture.new_zeros(1, *full)
            return Expected(nothing, nothing, nothing, nothing + 0.5, nothing + 0.5)
        own, others, certainty = warp(self.state, resize_flow(motion, size)).split(1, 1)
        certainty = (certainty + CERTAINTY_STEP).clamp(max=1)
        certainty = certainty * (resample(trust, size) / SURE_TRUST).clamp(0, 1)
        certain = resample(torch.cat([own, others], 1) * certainty, tuple(motion.shape[2:]))
        moving = compare_motions(self.luma, before, motion, trust, *certain.split(1, 1))
        own, others, certainty, moving = (resample(x, full)[:, 0].clamp(0, 1)
                                          for x in (own, others, certainty, moving))
        # Where the subject comes out from behind another thing, the flow takes it for that thing.
        shade = self.recogniser.shade(picture, whole(picture))
        return Expected(own, others * (shade < OWN_SHADE), certainty, moving, shade)

    def _continue(self, picture: Tensor, box: Box, expected: Expected) -> Tensor | None:
        """Matte the subject near its warped matte, with this `box`; None if it is no longer in view."""
        own, others = expected.own, expected.others
        seen = crop_around(box, own, others)
        everything = look(self.alpha_of, picture, seen)
        prompt = Prompt(mask=own, not_scribble=core(others, own))
        meant = with_claim(ask(self.selector, picture, everything, prompt, seen), own, others,
                           expected.certainty)
        meant = combine(combine(meant, expected.shade), expected.moving)
        meant = unite_alone(everything, parts_of(everything, meant, prompt), others)
        alpha = part(everything, meant, picture, seen)
        if not self.recogniser.is_in_view(alpha):
            return None
        now = self.recogniser.describe(picture, alpha)
        if not (self.recogniser.resembles(now, LEAST_LIKENESS) or self.recogniser.is_rather_own(now)):
            return None
        self.recogniser.learn(now, alpha)
        inside = torch.zeros_like(others)
        inside[(slice(None), *seen.slices)] = 1
        # Other things are what was one, and what is apart from the subject. A region that touches it and was
        # no other thing before may be a part that was hidden.
        left = (everything - alpha).clamp(min=0)
        away = left * apart(everything, alpha)
        self._keep(alpha, torch.where(inside > 0, torch.minimum(left, others).maximum(away), others),
                   expected.certainty)
        self.recogniser.learn_others(picture, away)
        return alpha

    def _search(self, picture: Tensor, others: Tensor) -> Tensor:
        """Look for the subject in the whole picture, outside of the known other things; all 0 if it is not
        found."""
        everything = look(self.alpha_of, picture, whole(picture))
        near = max(1, round(NEAR_SHARE * max(picture.shape[1:3])))
        taken = F.max_pool2d((others > REGION_LEVEL).float()[:, None], 2 * near + 1, 1, near)[:, 0]
        free = [(region, others) for region in self._candidates(everything * (1 - taken))]
        if len(free) > 1:  # parts of one subject, where something stands in front of it
            free.append((torch.stack([region for region, _ in free]).amax(0), others))
        known = []  # among the other things, if their appearance is known
        if self.recogniser.foreign is not None:
            known = [(region, None) for region in self._candidates(everything)
                     if (region * taken).sum() > 0.5 * region.sum()]
        best, best_likeness = None, 0.0
        for region, others_here in free + known:
            alpha, seen = self._look_closer(picture, region, others_here)
            if not self.recogniser.is_in_view(alpha):
                continue
            now = self.recogniser.describe(picture, alpha)
            likeness = self.recogniser.own.likeness(now)
            found = others_here is not None and self.recogniser.resembles(now, FOUND_LIKENESS)
            if likeness > best_likeness and (found or self.recogniser.is_rather_own(now)):
                best, best_likeness, best_seen = alpha, likeness, seen
        self.lost = best is None
        if self.lost:
            self._keep(torch.zeros_like(others), torch.minimum(everything, others))
            return torch.zeros_like(others)
        if self.recogniser.foreign is not None:
            best = self._without_others(picture, best, best_seen)
        self._keep(best, (everything - best).clamp(min=0))
        return best

    def _look_closer(self, picture: Tensor, region: Tensor, others: Tensor | None) -> tuple[Tensor, Box]:
        """Matte a region of the whole picture's matte in a crop around it, without the other things."""
        seen = widen_box(bounding_box(region[0], SOLID_ALPHA), CONTEXT, *picture.shape[1:3])
        everything, nothing = look(self.alpha_of, picture, seen), torch.zeros_like(region)
        others = nothing if others is None else others
        prompt = Prompt(scribble=core(region, nothing), mask=region, not_scribble=core(others, region))
        meant = with_claim(ask(self.selector, picture, everything, prompt, seen), region, others, nothing + 1)
        meant = combine(meant, self.recogniser.shade(picture, seen))
        return part(everything, parts_of(everything, meant, prompt), picture, seen), seen

    def _without_others(self, picture: Tensor, alpha: Tensor, seen: Box) -> Tensor:
        """Remove other things from what was found in a crop, if it looks like both together."""
        def prefer(mattes: Tensor) -> Tensor:
            return torch.tensor([self.recogniser.prefer(picture, matte[None]) for matte in mattes])

        def judge(parts: Tensor) -> Tensor:
            return (SHARPNESS * prefer(parts * alpha)).sigmoid()

        meant = combine(recognise(self.selector, picture, alpha, seen, judge, DIVIDING_CLICKS),
                        self.recogniser.shade(picture, seen))
        own = part(alpha, parts_of(alpha, meant, Prompt(mask=alpha)), picture, seen)
        found, remaining, removed = prefer(torch.cat([alpha, own, (alpha - own).clamp(min=0)])).tolist()
        better = removed < 0 and remaining > found + BETTER
        return own if better and self.recogniser.is_in_view(own) else alpha

    def _candidates(self, alpha: Tensor) -> list[Tensor]:
        """The CANDIDATES largest regions of a matte [1,H,W], each as a matte."""
        labels, count = label_regions(alpha[0].cpu().numpy() >= SOLID_ALPHA, diagonal=True)
        labels = torch.from_numpy(labels).to(alpha.device)
        sizes = torch.bincount(labels.flatten(), minlength=count + 1)[1:]
        large = sizes.argsort(descending=True)[:CANDIDATES]
        least = LEAST_SHARE / 2 * self.recogniser.area * alpha.numel()
        return [alpha * (labels == i + 1) for i in large.tolist() if sizes[i] >= least]

    def _keep(self, own: Tensor, others: Tensor, certainty: Tensor | None = None) -> None:
        """Keep what `_expect` carries to the next frame. certainty: None: all is certain."""
        certainty = torch.ones_like(own) if certainty is None else certainty
        state = torch.stack([own, others, certainty], 1).float()
        self.state = resample(state, limit_side(state.shape[2:], STATE_SIDE)).clamp(0, 1)


def whole(picture: Tensor) -> Box:
    return Box(0, 0, *picture.shape[1:3])


def crop_around(box: Box, own: Tensor, others: Tensor) -> Box:
    """The crop in which to look for a subject, with other things that touch it: from behind them parts of it
    may come into view.

    Args:
        box: around the subject, in pixels.
        own, others: [1,H,W], the warped mattes of the subject and of other things.
    """
    size = tuple(own.shape[1:])
    labels, count = label_regions(own.maximum(others)[0].cpu().numpy() >= REGION_LEVEL, diagonal=True)
    touching = np.zeros(count + 1, bool)
    touching[labels[own[0].cpu().numpy() >= SOLID_ALPHA]] = True
    together = bounding_box(torch.from_numpy(touching[labels]), 1)
    return widen_box(together, CONTEXT, *size).intersection(widen_box(box, MOST_CONTEXT, *size))


def core(mask: Tensor, other: Tensor) -> Tensor:
    """The inner part of a mask [1,H,W] without the pixels of `other`."""
    reach = max(1, round(NEAR_SHARE * max(mask.shape[1:])))
    inner = -F.max_pool2d(-(mask * (other < REGION_LEVEL))[:, None], 2 * reach + 1, 1, reach)[:, 0]
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
    labels, (own, foreign) = region_shares(alpha, meant, others)
    alone = np.concatenate([[False], (own > ALONE_SHARE) & (foreign < APART_SHARE)])[labels]
    return torch.where(torch.from_numpy(alone[None]).to(meant.device), 1.0, meant)


def with_claim(meant: Tensor, own: Tensor, others: Tensor, certainty: Tensor) -> Tensor:
    """The selector's probability [1,H,W], combined with that from the warped mattes of the frame before where
    these show something, as far as it is certain."""
    known = (own + others).clamp(0, 1) * certainty
    claim = (own / (own + others).clamp(min=1e-3)).clamp(LEAST_CLAIM, 1 - LEAST_CLAIM)
    return torch.lerp(meant, combine(meant, claim), known)


def combine(one: Tensor, other: Tensor) -> Tensor:
    """Combine two independent probabilities of the same event (Bayes' rule, prior 1/2)."""
    return one * other / (one * other + (1 - one) * (1 - other)).clamp(min=1e-6)


def apart(everything: Tensor, alpha: Tensor) -> Tensor:
    """1 in the regions of a matte [1,H,W] of which at most APART_SHARE is in `alpha`, else 0."""
    labels, (share,) = region_shares(everything, alpha)
    away = np.concatenate([[False], share < APART_SHARE])[labels]
    return torch.from_numpy(away[None]).to(everything)
