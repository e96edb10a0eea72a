"""What a subject and the other things of a clip look like, by which the subject is found again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...imaging.boxes import Box, bounding_box
from ...imaging.flow import box_mean
from ...imaging.resize import over_grey
from ...network.selector import Selector
from .looks import SOLID_ALPHA, widen_box
from .selection import describe

CONTEXT = 0.3            # margin of the crop that is described, as a share of its box's longer side
DECAY = 0.95             # of the moving averages, per frame
OPAQUE_ALPHA = 0.9       # from it on, a pixel shows the subject's own colour
COLOURS = 6              # levels of each colour channel in a histogram
LEAST_SHARE = 0.08       # of the subject's usual area: smaller parts do not count as in view
FIRST_LIKENESS = 0.9     # usual likeness of the subject to its appearance, before frames tell
# Likeness to the subject, as a share of its usual likeness:
LEAST_LIKENESS = 0.88    # below it a region that the flow leads to is something else
FOUND_LIKENESS = 0.8     # below it a region of the whole picture is something else; it may be a part
SURE_LIKENESS = 0.95     # from it on the appearance is updated
PART_LIKENESS = 0.7      # below it even a small part is something else
CLEARER = 0.05           # likeness by which a part must resemble the subject more than other things
LEAST_FREQUENCY = 1e-4   # added to those of a histogram, where two are compared
LEAST_SHADE = 0.2        # lower bound of the probability from a pixel's colour; the upper one is 1 minus it
BLUR_SHARE = 0.005       # of the picture's longer side: reach of the mean of these probabilities


@dataclass
class Appearance:
    """A histogram of colours, and mean features."""

    colours: Tensor      # [COLOURS³], sums to 1
    features: Tensor     # [C], a unit vector

    def likeness(self, other: Appearance) -> float:
        """Mean of the histograms' intersection and the features' cosine, 0..1."""
        return float(torch.minimum(self.colours, other.colours).sum() / 2
                     + (self.features @ other.features).clamp(min=0) / 2)

    def updated(self, now: Appearance) -> Appearance:
        """The moving average after one more frame."""
        return Appearance(torch.lerp(now.colours, self.colours, DECAY),
                          F.normalize(torch.lerp(now.features, self.features, DECAY), dim=0))


class Recogniser:
    """Tells a subject from the other things by their appearance.

    Args:
        selector: of birefnet.checkpoint.selector.load_selector.
        picture: float [1,H,W,C] in 0..1.
        alpha: [1,H,W], the subject's matte in it.

    Attributes:
        own: the subject's appearance.
        usual: its usual likeness to that.
        area: its usual area, as a share of the picture's.
        foreign: the appearance of other things; None before any were large enough.
    """

    def __init__(self, selector: Selector, picture: Tensor, alpha: Tensor) -> None:
        self.selector = selector
        self.own, self.foreign = self.describe(picture, alpha), None
        self.usual, self.area = FIRST_LIKENESS, float(alpha.mean())

    def describe(self, picture: Tensor, alpha: Tensor) -> Appearance:
        """Describe what a matte [1,H,W] with a solid pixel shows."""
        seen = widen_box(bounding_box(alpha[0], SOLID_ALPHA), CONTEXT, *picture.shape[1:3])
        return Appearance(histogram(picture, alpha, seen), describe(self.selector, picture, alpha, seen))

    def is_in_view(self, alpha: Tensor) -> bool:
        """Whether a matte [1,H,W] is large enough to be the subject or a part of it."""
        return bool(alpha.max() >= SOLID_ALPHA) and float(alpha.mean()) >= LEAST_SHARE * self.area

    def resembles(self, now: Appearance, share: float) -> bool:
        """Whether an appearance has at least `share` of the subject's usual likeness."""
        return self.own.likeness(now) >= share * self.usual

    def is_rather_own(self, now: Appearance) -> bool:
        """Whether an appearance resembles the subject clearly more than the other things; a part may not
        resemble the whole much."""
        return (self.foreign is not None and self.resembles(now, PART_LIKENESS)
                and self.own.likeness(now) > self.foreign.likeness(now) + CLEARER)

    def prefer(self, picture: Tensor, alpha: Tensor) -> float:
        """How much more a matte [1,H,W] resembles the subject than the other things, which must be known:
        -1..1; 0 for an empty matte."""
        if alpha.max() < SOLID_ALPHA:
            return 0.0
        now = self.describe(picture, alpha)
        return self.own.likeness(now) - self.foreign.likeness(now)

    def learn(self, now: Appearance, alpha: Tensor) -> None:
        """Update the subject's appearance and area, if this is certainly the subject."""
        likeness = self.own.likeness(now)
        if likeness > SURE_LIKENESS * self.usual:
            self.usual += (1 - DECAY) * (likeness - self.usual)
            self.own = self.own.updated(now)
            self.area += (1 - DECAY) * (float(alpha.mean()) - self.area)

    def learn_others(self, picture: Tensor, others: Tensor) -> None:
        """Model the appearance of other things [1,H,W], in the first frame in which they are large enough."""
        if self.foreign is None and float((others > SOLID_ALPHA).float().mean()) > LEAST_SHARE * self.area:
            self.foreign = self.describe(picture, others)

    def shade(self, picture: Tensor, seen: Box) -> Tensor:
        """The probability [1,H,W] that a pixel's colour is the subject's and not that of other things; 1/2
        outside `seen`, and while no other things are known."""
        shade = torch.full(picture.shape[:3], 0.5, device=picture.device)
        if self.foreign is not None:
            inside = (slice(None), *seen.slices)
            index = colour_index(picture[inside][0])
            own, foreign = self.own.colours[index], self.foreign.colours[index]
            told = (own + LEAST_FREQUENCY) / (own + foreign + 2 * LEAST_FREQUENCY)
            side = 2 * max(1, round(BLUR_SHARE * max(picture.shape[1:3]))) + 1
            shade[inside] = box_mean(told[None, None], side)[:, 0]
        return shade.clamp(LEAST_SHADE, 1 - LEAST_SHADE)

    def state_dict(self) -> dict:
        """What it has learned, as numbers, tensors and dicts of them."""
        return {name: vars(value) if isinstance(value, Appearance) else value
                for name, value in vars(self).items() if name != "selector"}

    @classmethod
    def from_state(cls, selector: Selector, state: dict) -> Recogniser:
        """Continue from a `state_dict` whose tensors are on the pictures' device."""
        made = cls.__new__(cls)
        made.selector = selector
        for name, value in state.items():
            setattr(made, name, Appearance(**value) if isinstance(value, dict) else value)
        return made


def histogram(picture: Tensor, alpha: Tensor, seen: Box) -> Tensor:
    """Histogram of a subject's colours, [COLOURS³], smoothed over neighbouring colours; sums to 1."""
    inside = (0, *seen.slices)
    index = colour_index(picture[inside]).flatten()
    # solid pixels show the subject's own colours; something translucent has none of them
    level = min(OPAQUE_ALPHA, float(alpha[inside].max()))
    weight = (alpha[inside] >= level).float().flatten()
    counts = torch.zeros(COLOURS**3, device=picture.device).index_add_(0, index, weight)
    cube = F.avg_pool3d(F.pad(counts.view(1, 1, COLOURS, COLOURS, COLOURS), (1,) * 6), 3, 1)
    return cube.flatten() / cube.sum().clamp(min=1e-6)


def colour_index(picture: Tensor) -> Tensor:
    """The histogram bin of each pixel of [...,C]."""
    levels = (over_grey(picture).clamp(0, 1) * (COLOURS - 1e-3)).long()  # a channel of 1 is in the last bin
    return (levels[..., 0] * COLOURS + levels[..., 1]) * COLOURS + levels[..., 2]
