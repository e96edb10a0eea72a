"""The subject that a prompt means, with the included checkpoint and selector: one of two, whole; what is not
wanted; and where there is none."""

from __future__ import annotations

import pytest
import torch

import weights
from birefnet import masks
from birefnet.checkpoint.selector import load_selector
from birefnet.files.errors import CheckpointError
from birefnet.imaging.boxes import Box, bounding_box
from birefnet.matting import subject
from birefnet.matting.subject import Prompt, selection
from birefnet.matting.subject.prompts import draw_maps
from birefnet.matting.subject.selection import by_regions

NAMES = ("astronaut", "coffee")
POINTS = {"astronaut": [(290, 420), (255, 170)], "coffee": [(850, 420), (730, 480)]}
STROKES = {"astronaut": (slice(230, 500), slice(280, 292)), "coffee": (slice(400, 412), slice(760, 900))}
LEAST_IOU = 0.88


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum())


def stroke(name: str, image: torch.Tensor) -> torch.Tensor:
    drawn = torch.zeros(image.shape[:3])
    drawn[(0, *STROKES[name])] = 1
    return drawn


def coarse(mask: torch.Tensor) -> torch.Tensor:
    """As somebody would paint it: 30 pixels too large, in blocks of 40."""
    return (masks.resize(masks.resize(masks.grow(mask, 30), (16, 30)), tuple(mask.shape[1:])) > 0.5).float()


@pytest.mark.parametrize("name, other", [NAMES, NAMES[::-1]])
@pytest.mark.parametrize("kind", ["point", "box", "scribble", "mask", *(
    pytest.param(kind, marks=pytest.mark.slow) for kind in ("other point", "mixture"))])
def test_one_of_two_by_any_prompt(image, known, nano, selector, name, other, kind):
    box = bounding_box(known[name][0], 0.5)
    prompt = {
        "point": Prompt(points=(POINTS[name][0],)), "other point": Prompt(points=(POINTS[name][1],)),
        "box": Prompt(box=box), "scribble": Prompt(scribble=stroke(name, image)),
        "mask": Prompt(mask=coarse(known[name])),
        "mixture": Prompt(box=box, points=tuple(POINTS[name]), not_points=(POINTS[other][0],)),
    }[kind]
    found = subject.select(nano, selector, image, prompt)
    assert iou(found, known[name]) > LEAST_IOU
    assert found[known[other] > 0.5].max() == 0


def test_each_of_several_boxes_gets_what_is_drawn_inside_it():
    boxes = [Box(0, 0, 50, 50), Box(20, 60, 80, 90)]
    drawn = torch.ones(1, 100, 100)
    first, second = subject.prompts_of_boxes(boxes, [(10, 10), (70, 30)], [(55, 5)], scribble=drawn)
    assert (first.box, first.points, first.not_points) == (boxes[0], ((10, 10),), ((55, 5),))
    assert (second.box, second.points, second.not_points) == (boxes[1], ((70, 30),), ((55, 5),))
    assert [bounding_box(one.scribble[0], 0.5) for one in (first, second)] == boxes
    alone, = subject.prompts_of_boxes(boxes[:1], [(70, 30)], mask=drawn)
    assert alone.points == ((70, 30),) and alone.mask is drawn
    assert subject.prompts_of_boxes([], [(70, 30)]) == [Prompt(points=((70, 30),))]
    with pytest.raises(ValueError, match=r"^Give a box around the point \(5, 95\) too"):
        subject.prompts_of_boxes(boxes, [(10, 10), (5, 95)])


def test_a_region_that_fits_the_box_is_whole():
    """Three quarters of it are predicted: enough for its own box, not for that of half of it."""
    alpha, meant = torch.zeros(1, 40, 60), torch.ones(1, 40, 60)
    alpha[:, 10:30, 10:50] = 1
    meant[:, :, 40:] = 0
    by_box = {box: by_regions(alpha, meant, Prompt(box=box))[0, 20, 45]
              for box in (Box(9, 11, 30, 52), Box(10, 10, 30, 30))}
    assert list(by_box.values()) == [1, 0]


def test_an_empty_mask_says_nothing_beside_a_point(image, known, nano, selector):
    points, empty = (POINTS["coffee"][0],), torch.zeros_like(known["coffee"])
    alone, both = (subject.select(nano, selector, image, prompt)
                   for prompt in (Prompt(points=points), Prompt(points=points, mask=empty)))
    assert torch.equal(alone, both)


def test_two_points_take_both(image, known, nano, selector):
    both = known["astronaut"].maximum(known["coffee"])
    points = [POINTS[name][0] for name in NAMES]
    assert iou(subject.select_each(nano, selector, image, points), both) > LEAST_IOU


def test_what_a_negative_point_touches_is_taken_away(nano, selector, image, known):
    """Two things that touch: the astronaut, and the cup laid over her."""
    image, masks = touching(image, known)
    cup = bounding_box(masks["coffee"][0], 0.5)
    point = ((cup.left + cup.right) // 2, (cup.top + cup.bottom) // 2)
    found = subject.select(nano, selector, image,
                           Prompt(points=((275, 240), (180, 450)), not_points=(point,)))
    assert found[0, point[1], point[0]] < 0.1 and found[0, 450, 180] > 0.9
    assert found[masks["coffee"] > 0.5].mean() < 0.3 < 0.9 < nano(image)[masks["coffee"] > 0.5].mean()


def touching(image, known) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The cup of pair.jpg moved over the astronaut's arm."""
    image, cup = image.clone(), known["coffee"]
    box = bounding_box(cup[0], 0.01)
    part = image[:, box.top:box.bottom, box.left:box.right].clone()
    alpha = cup[:, box.top:box.bottom, box.left:box.right]
    ground = image[:, :1, :1].expand_as(part)
    image[:, box.top:box.bottom, box.left:box.right] = ground
    at = (slice(None), slice(box.top, box.bottom), slice(430, 430 + part.shape[2]))
    image[at] = image[at] * (1 - alpha[..., None]) + part * alpha[..., None]
    moved = torch.zeros_like(cup)
    moved[at] = alpha
    return image, {"coffee": moved, "astronaut": known["astronaut"] * (1 - moved)}


@pytest.mark.parametrize("prompt", [Prompt(points=((640, 60),)), Prompt(box=Box(600, 560, 638, 690))])
def test_no_object_there_gives_an_empty_mask(image, nano, selector, prompt):
    assert subject.select(nano, selector, image, prompt).max() < 0.5


@pytest.mark.parametrize("mask",
                         [Prompt(mask=torch.zeros(1, 80, 90)), Prompt(scribble=torch.zeros(1, 80, 90))])
def test_an_empty_drawing_means_nothing(selector, mask):
    assert torch.equal(subject.select(lambda x: x[..., 0], selector, torch.ones(1, 80, 90, 3), mask),
                       torch.zeros(1, 80, 90))


@pytest.mark.parametrize("prompt, words", [
    (Prompt(box=Box(100, 0, 120, 40)), "lies outside the picture of 90×80"),
    (Prompt(points=((90, 10),)), "with x from 0 to 89"),
    (Prompt(points=((10, 10),), not_points=((10, -1),)), "y from 0 to 79"),
    (Prompt(not_points=((10, 10),)), "Give a box, a point, a stroke or a mask"),
    *((Prompt(points=((10, 10),), **{name: torch.ones(1, 40, 45)}), "Resize strokes and masks to the picture")
      for name in ("scribble", "mask", "not_scribble")),
])
def test_what_cannot_be_is_refused(selector, prompt, words):
    with pytest.raises(ValueError, match=words):
        subject.select(lambda x: x[..., 0], selector, torch.zeros(1, 80, 90, 3), prompt)


def test_strokes_are_told_from_shapes():
    picture = torch.zeros(1, 300, 480)
    picture[:, 100:128, 50:400] = 1   # 28 of 480 pixels: a stroke
    assert subject.is_scribble(picture)
    picture[:, 100:134] = 1           # 34 pixels
    assert not subject.is_scribble(picture)
    assert subject.is_scribble(torch.zeros(1, 300, 480))
    wide = torch.zeros(1, 1080, 1920)
    wide[:, 500:580, 200:1700] = 1  # 4 % of the longer side
    assert subject.is_scribble(wide)
    long = torch.zeros(1, 100, 2000)
    long[:, 48:60, 200:1700] = 1
    assert subject.is_scribble(long)
    long[:, 5:95, 900:1020] = 1     # 90 pixels: narrow for the longer side, wide for the shorter one
    assert not subject.is_scribble(long)


def test_a_stroke_of_half_the_level_is_one_everywhere():
    half = torch.zeros(1, 100, 100)
    half[:, 40:50, 20:80] = 0.5
    prompt = Prompt(scribble=half)
    assert prompt.extent() == Box(40, 20, 50, 80) and prompt.touched((100, 100)).sum() == 600
    assert draw_maps(prompt, Box(0, 0, 100, 100), 100)[0, 0].sum() == 600


@pytest.mark.parametrize("prompt", [Prompt(box=Box(20, 20, 60, 60)), Prompt(mask=torch.ones(1, 80, 90))])
def test_a_faint_matte_is_no_subject(selector, prompt):
    faint = torch.zeros(1, 80, 90)
    faint[:, 25:55, 25:55] = 0.2

    def alpha_of(crops: torch.Tensor) -> torch.Tensor:
        return crops[..., 0]

    found = subject.select(alpha_of, selector, faint[..., None].expand(-1, -1, -1, 3), prompt)
    assert found.max() < 0.5


def test_a_moved_border_does_not_pass_a_click(selector, monkeypatch):
    """Where the colours say that the clicked pixel is another subject's, the click is right."""
    picture = torch.zeros(1, 80, 90, 3)
    picture[:, 20:60, 20:70] = 1
    asked = torch.full((1, 80, 90), 0.2)
    asked[..., :45] = 0.8
    monkeypatch.setattr(selection, "ask", lambda *_: asked.clone())
    monkeypatch.setattr(selection, "move_borders", lambda meant, alpha, picture: 1 - meant)
    found = subject.select(lambda crops: crops[..., 0], selector, picture, Prompt(points=((30, 40),)))
    assert found[0, 40, 30] > 0.9 and found[0, 40, 65] < 0.1


def test_maps_show_the_prompts_where_the_crop_has_them():
    drawn = torch.zeros(1, 100, 200)
    drawn[:, 40:60, 100:150] = 1
    prompt = Prompt(box=Box(20, 100, 60, 200), points=((150, 50), (0, 0)), not_points=((110, 30),),
                    mask=drawn)
    maps = draw_maps(prompt, Box(0, 100, 100, 200), 50)[0]
    # (0, 0) lies outside the crop
    assert maps[0, 25, 25] == 1 and 12 < maps[0].sum() < 30 and maps[1, 15, 5] == 1
    assert torch.equal(maps[2, :, 0] > 0, torch.arange(50).ge(10) & torch.arange(50).lt(30))
    assert maps[3, 25, 10] == 1 and maps[3, 5, 10] == -1


def test_another_checkpoint_is_no_selector():
    with pytest.raises(CheckpointError, match="^Download or copy it again: .*birefnet-nano.safetensors: "):
        load_selector(weights.NANO)


def test_a_small_part_of_a_joined_region_may_be_all_that_is_meant():
    alpha, meant = torch.zeros(1, 40, 100), torch.zeros(1, 40, 100)
    alpha[:, 10:30, 10:90] = 1
    meant[:, 10:30, 10:18] = 1  # a tenth of it: what a wide thing in front leaves to be seen
    prompt = Prompt(mask=meant)
    assert by_regions(alpha, meant, prompt).max() == 0
    assert torch.equal(by_regions(alpha, meant, prompt, none_share=0.02), meant)
    assert by_regions(alpha, meant * 0.1, prompt, none_share=0.02).max() == 0
