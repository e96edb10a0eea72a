"""One of two subjects through a clip: they cross, one leaves and comes back, the clip cuts; with the included
networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet.imaging.boxes import Box
from birefnet.matting.subject import Follower, find_parting
from birefnet.matting.subject.follow import crop_around

DATA = Path(__file__).parents[1] / "data"
HEIGHT, WIDTH = 160, 256
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cutouts() -> dict[str, np.ndarray]:
    """The two of pair.jpg, float32 RGBA, 80 pixels high."""
    made = {}
    for name in ("astronaut", "coffee"):
        image = Image.open(DATA / "pair.jpg").convert("RGB")
        image.putalpha(Image.open(DATA / f"pair_{name}_mask.png").convert("L"))
        part = image.crop(image.getchannel("A").getbbox())
        made[name] = np.asarray(part.resize((round(80 * part.width / part.height), 80)), np.float32) / 255
    return made


def frame(cutouts, places: dict[str, tuple[int, int] | None], shade: float = 0.5
          ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A picture, and what is seen of each subject whose upper left corner (x, y) is given; later ones in
    front."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / 50
    ground = np.stack([shade + 0.08 * np.sin(x + c) + 0.06 * np.cos(2 * y + x) for c in range(3)], -1)
    image, masks = ground.astype(np.float32), {}
    for name, at in places.items():
        layer = np.zeros((HEIGHT, WIDTH, 4), np.float32)
        if at is not None:
            left, top = at
            part = cutouts[name][:, max(0, -left):max(0, WIDTH - left)]
            layer[top:top + 80, max(0, left):max(0, left) + part.shape[1]] = part
        alpha = layer[..., 3:]
        image = image * (1 - alpha) + layer[..., :3] * alpha
        masks = {other: mask * (1 - alpha[..., 0]) for other, mask in masks.items()} | {name: alpha[..., 0]}
    return torch.from_numpy(image)[None], {name: torch.from_numpy(mask)[None] for name, mask in masks.items()}


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum())


def follow(alpha_of, selector, frames, name: str) -> tuple[Follower, list[torch.Tensor]]:
    follower = Follower(alpha_of, selector)
    follower.begin(frames[0][0], frames[0][1][name])
    return follower, [frames[0][1][name], *(follower(picture) for picture, _ in frames[1:])]


def test_what_crosses_in_front_is_left_out(cutouts, nano, selector):
    frames = [frame(cutouts, {"astronaut": (20 + 5 * i, 40), "coffee": (170 - 7 * i, 60)}) for i in range(12)]
    _, found = follow(nano, selector, frames, "astronaut")
    scores = [iou(alpha, masks["astronaut"]) for alpha, (_, masks) in zip(found, frames)]
    assert np.mean(scores) > 0.8, scores
    assert all(iou(alpha, masks["astronaut"]) > iou(alpha, masks["coffee"])
               for alpha, (_, masks) in zip(found, frames))


def test_what_comes_out_behind_another_colour_is_known_while_they_touch(cutouts, nano, selector):
    green = {**cutouts, "coffee": cutouts["coffee"][..., [1, 0, 2, 3]]}
    frames = [frame(green, {"astronaut": (8 * i, 40), "coffee": (80, 45)}) for i in range(20)]
    _, found = follow(nano, selector, frames, "astronaut")
    scores = [iou(alpha, masks["astronaut"]) for alpha, (_, masks) in zip(found, frames)]
    assert found[11].max() < 0.5, "hidden but for a twelfth"
    assert np.mean(scores[-5:]) > 0.4, scores


def test_a_subject_that_was_away_is_found_again_and_not_taken_for_the_other(cutouts, nano, selector):
    places = [60, 20, -20, -60, -100, -100, -60, -20, 20, 60]
    frames = [frame(cutouts, {"astronaut": (x, 40) if x > -80 else None, "coffee": (160, 60)})
              for x in places]
    follower, lost = Follower(nano, selector), []
    follower.begin(frames[0][0], frames[0][1]["astronaut"])
    for picture, masks in frames[1:]:
        alpha = follower(picture)
        lost.append(follower.lost)
        assert (alpha * masks["coffee"]).sum() < 0.1 * masks["coffee"].sum()
    assert lost[3] and lost[4] and not lost[0] and not lost[-1]
    assert iou(alpha, frames[-1][1]["astronaut"]) > 0.75


def test_after_a_cut_it_is_known_by_its_looks(cutouts, nano, selector):
    before = [frame(cutouts, {"coffee": (150 - 2 * i, 50), "astronaut": (20, 40)}) for i in range(4)]
    after = [frame(cutouts, {"coffee": (20, 40), "astronaut": (140, 60)}, shade=0.85)]
    follower, found = follow(nano, selector, before + after, "coffee")
    assert not follower.lost
    assert iou(found[-1], after[0][1]["coffee"]) > 0.8


@pytest.fixture(scope="module")
def passing(cutouts) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """The cup passes in front of the astronaut and covers her right half first."""
    return [frame(cutouts, {"astronaut": (160, 40), "coffee": (190 - 12 * i, 50)}) for i in range(17)]


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_of_two_that_touch_the_one_is_found_that_comes_to_lie_under_the_point(passing, nano, selector, name):
    masks = passing[0][1]
    point = {"astronaut": (178, 100), "coffee": (215, 85)}[name]
    assert masks[name][0, point[1], point[0]] > 0.9
    both = (masks["astronaut"] + masks["coffee"]).clamp(0, 1)
    steps, choose = find_parting(nano, selector, [point], [picture for picture, _ in passing], both)
    assert iou(choose(passing[steps][0]), passing[steps][1][name]) > 0.8


def test_one_that_was_chosen_alone_is_not_parted_from_what_covers_it(passing, nano, selector):
    backwards = passing[8::-1]
    alone = backwards[0][1]["coffee"]
    assert find_parting(nano, selector, [(130, 100)], [picture for picture, _ in backwards], alone) is None


def test_the_crop_shows_what_touches_the_subject_and_little_of_what_is_far():
    own, others = torch.zeros(1, 200, 400), torch.zeros(1, 200, 400)
    own[:, 80:100, 100:140], others[:, 80:100, 250:300] = 1, 1
    box = Box(80, 100, 100, 140)
    assert crop_around(box, own, others) == Box(68, 88, 112, 152)         # 30 % of 40 pixels on each side
    others[:, 70:100, 140:155] = 1                                        # this touches it
    assert crop_around(box, own, others) == Box(54, 84, 116, 171)         # 30 % of 55 around both
    others[:, :, 140:] = 1
    assert crop_around(box, own, others) == Box(48, 68, 132, 172)         # 80 % of 40 around the subject


def test_nothing_to_follow_is_refused(selector):
    with pytest.raises(ValueError, match="^Point at a subject"):
        Follower(lambda x: x[..., 0], selector).begin(torch.zeros(1, 64, 64, 3), torch.zeros(1, 64, 64))
