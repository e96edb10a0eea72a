"""What clicks at other places of the matte say about the subject that a prompt means.

A click on a part of the subject should choose the same pixels as the prompt, and a click on another subject
should choose others. The selector predicts for such clicks too (probes); each prediction is evidence for or
against every pixel, as far as the probe is on the subject, which prompt and probe decide together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .prompts import draw_touches

PROBES = 10           # clicks that are tried
INNER_LEVEL = 0.7     # of the matte: probes are placed where it exceeds this in a neighbourhood
NEIGHBOURHOOD = 5     # pixels of the selector's maps: side of that neighbourhood
LEAST_POSITIONS = 20  # a smaller matte gets no probes
ROUNDS = 3            # of deciding which probes are on the subject, and weighing their evidence
EVIDENCE = 0.8        # weight of each probe's evidence: they are not independent
DOUBT = 0.02          # least probability of either side, in the predictions of probes
PROMPT_DOUBT = 1e-3   # the same, in that of the prompt
CLAIMED = 0.3         # probability from which a pixel counts as meant by a prompt without touches


def weigh_probes(meant: Tensor, maps: Tensor, predict: Callable[[Tensor], Tensor], count: int = PROBES
                 ) -> Tensor:
    """Correct the selector's prediction for a prompt by its predictions for clicks elsewhere on the matte.

    Args:
        meant: probabilities [1,1,h,w].
        maps: the prompt [1,5,H,W], see `Selector`.
        predict: from prompts [n,5,H,W] on the same picture to probabilities [n,1,h,w].
        count: number of probes.

    Returns:
        Probabilities [1,1,h,w].
    """
    found, touches = click_everywhere(maps, predict, count)
    if not len(found):
        return meant
    probes, touched = (F.adaptive_avg_pool2d(x, meant.shape[2:]) for x in (touches, maps[:, 0]))
    first = meant[0].logit(PROMPT_DOUBT)
    for _ in range(ROUNDS):
        prompted = touched if touched.any() else meant[0] * (meant[0] > CLAIMED)
        on_subject = (mean_where(meant[0], probes) + mean_where(found, prompted)) / 2
        meant = weigh(first, found, on_subject)
    return meant


def click_everywhere(maps: Tensor, predict: Callable[[Tensor], Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Predict for clicks at `count` places of the matte, far from each other and from the prompt's touches.

    Args:
        maps, predict: as for `weigh_probes`.

    Returns:
        Probabilities [n,h,w], and the clicks [n,H,W], drawn as touches.
    """
    places = place_probes(maps, count)
    if not places:
        return maps.new_zeros(0, 1, 1), maps.new_zeros(0, *maps.shape[2:])
    touches = torch.stack([draw_touches([place], maps.shape[3]) for place in places]).to(maps)
    prompts = maps.new_zeros(len(touches), *maps.shape[1:])
    prompts[:, 0], prompts[:, 4] = touches, maps[:, 4]
    return predict(prompts)[:, 0], touches


def weigh(first: Tensor, found: Tensor, on_subject: Tensor) -> Tensor:
    """Add the evidence of clicks to logits.

    Args:
        first: logits [1,h,w] of the prediction without them.
        found: the clicks' predictions [n,h,w].
        on_subject: the probability that each click is on the subject, [n].

    Returns:
        Probabilities [1,1,h,w].
    """
    found, on_subject = found.clamp(DOUBT, 1 - DOUBT), on_subject.clamp(DOUBT, 1 - DOUBT)[:, None, None]
    evidence = (on_subject * found + (1 - on_subject) * (1 - found)).logit()
    # What is not another subject need not be this one.
    evidence = torch.where(on_subject > 0.5, evidence, evidence.clamp(max=0))
    return (first + EVIDENCE * evidence.sum(0)).sigmoid()[None]


def mean_where(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted means of maps [n,h,w]."""
    return (values * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1e-6)


def place_probes(maps: Tensor, count: int) -> list[tuple[float, float]]:
    """Choose positions (x, y) of the matte, each as far as possible from the touches and those before.

    Args:
        maps: the prompt [1,5,H,W], see `Selector`.
        count: of positions.

    Returns:
        `count` positions, pixels of the maps; none if the matte is smaller than LEAST_POSITIONS pixels.
    """
    matte, margin = maps[:, 4:], NEIGHBOURHOOD // 2
    inner = -F.max_pool2d(-matte, NEIGHBOURHOOD, 1, margin)[0, 0] > INNER_LEVEL
    positions = inner.nonzero().float()
    if len(positions) < LEAST_POSITIONS:
        return []
    touched = maps[0, 0].nonzero().float()
    start = (touched if len(touched) else positions).mean(0)
    away, chosen = (positions - start).square().sum(1), []
    for _ in range(count):
        place = positions[away.argmax()]
        chosen.append((float(place[1]), float(place[0])))
        away = torch.minimum(away, (positions - place).square().sum(1))
    return chosen
