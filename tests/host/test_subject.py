"""Pick Subject inside the host: each way of picking, several boxes and pictures, and what a user reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from host import iou, values
from known import DATA
from PIL import Image
from workflow import load, node

LEAST_IOU = 0.85
BOXES = {"astronaut": {"x": 54, "y": 144, "width": 498, "height": 496},
         "coffee": {"x": 698, "y": 256, "width": 363, "height": 333}}
WHOLE = {"x": 0, "y": 0, "width": 0, "height": 0}


@pytest.fixture(scope="module")
def pair(host) -> str:
    return host.upload(DATA / "pair.jpg")


@pytest.fixture(scope="module")
def masks() -> dict[str, np.ndarray]:
    return {name: values(Image.open(DATA / f"pair_{name}_mask.png")) for name in BOXES}


def picked(image: dict, **changes) -> dict:
    inputs = {"model": ["model", 0], "image": ["image", 0], "pick": "box", **WHOLE, "context": 25.0,
              "boxes": "union",
              "size": 0} | changes
    return {"model": load(), "image": image, "subject": node("BiRefSubject", **inputs),
            "shown": node("MaskPreview", mask=["subject", 0])}


def detected(*frames: list[dict]) -> dict:
    """Boxes as ComfyUI's detectors give them: a list for each picture."""
    return node("OddBoxes", boxes=json.dumps(frames))


def shown(host, workflow: dict) -> list[np.ndarray]:
    return [values(picture, 0) for picture in host.pictures(host.run(workflow))["shown"]]


@pytest.mark.parametrize("name, other", [("astronaut", "coffee"), ("coffee", "astronaut")])
def test_each_is_picked_by_box_point_and_mask(host, pair, masks, name, other):
    box = BOXES[name]
    point = {"pick": "point", "x": box["x"] + box["width"] // 2, "y": box["y"] + box["height"] // 2}
    coarse = {"coarse": node("LoadImageMask", image=host.upload(DATA / f"pair_{name}_mask.png"),
                             channel="red"),
              "rough": node("GrowMask", mask=["coarse", 0], expand=25, tapered_corners=True)}
    image = node("LoadImage", image=pair)
    for workflow in (picked(image, **box), picked(image, **point),
                     picked(image, pick="mask", mask=["rough", 0]) | coarse):
        mask, = shown(host, workflow)
        assert iou(mask, masks[name]) > LEAST_IOU
        assert mask[masks[other] > 0].max() == 0


def test_boxes_from_a_detector_become_a_union_or_a_batch(host, pair, masks):
    image = node("LoadImage", image=pair)
    given = {"given": detected(list(BOXES.values()))}
    both, = shown(host, picked(image, bboxes=["given", 0]) | given)
    assert iou(both, np.maximum(*masks.values())) > LEAST_IOU
    one, other = shown(host, picked(image, bboxes=["given", 0], boxes="batch") | given)
    assert iou(one, masks["astronaut"]) > LEAST_IOU and iou(other, masks["coffee"]) > LEAST_IOU
    assert np.abs(np.maximum(one, other) - both).max() < 2 / 255


def test_a_point_beside_several_boxes_tells_only_about_its_own(host, pair, masks):
    workflow = picked(node("LoadImage", image=pair), pick="mixture", bboxes=["given", 0],
                      points='[{"x": 850, "y": 420}]') | {"given": detected(list(BOXES.values()))}
    both, = shown(host, workflow)
    assert iou(both, np.maximum(*masks.values())) > LEAST_IOU


def test_where_a_mixture_has_no_box_a_point_chooses_alone(host, pair, masks):
    workflow = picked(node("LoadImage", image=pair), pick="mixture", bboxes=["given", 0],
                      points='[{"x": 850, "y": 420}]') | {"given": detected([])}
    mask, = shown(host, workflow)
    assert iou(mask, masks["coffee"]) > LEAST_IOU and mask[masks["astronaut"] > 0].max() == 0


def test_every_picture_has_its_own_boxes_or_none(host, pair, masks):
    twice = {"single": node("LoadImage", image=pair)}
    image = node("RepeatImageBatch", image=["single", 0], amount=3)
    given = {"given": detected([BOXES["coffee"]], [], [BOXES["astronaut"]])}
    record = host.run(picked(image, bboxes=["given", 0]) | given | twice)
    first, second, third = (values(picture, 0) for picture in host.pictures(record)["shown"])
    assert iou(first, masks["coffee"]) > LEAST_IOU and iou(third, masks["astronaut"]) > LEAST_IOU
    assert second.max() == 0
    assert "no subject found in the box in 1 of 3 masks (index 1)" in host.texts(record)[0]
    assert len(shown(host, picked(image, bboxes=["given", 0], boxes="batch") | given | twice)) == 2


def test_the_cutout_has_the_mask_as_opacity(host, pair):
    workflow = picked(node("LoadImage", image=pair), **BOXES["coffee"]) | {
        "split": node("SplitImageWithAlpha", image=["subject", 1]),
        "transparent": node("MaskPreview", mask=["split", 1])}
    pictures = host.pictures(host.run(workflow))
    assert np.abs(1 - values(pictures["transparent"][0], 0) - values(pictures["shown"][0], 0)).max() < 2 / 255


@pytest.mark.parametrize("changes, words", [
    ({"pick": "mask"}, ["Connect a coarse mask"]),
    ({"x": 64, "width": 10, "height": 10}, ["lies outside the picture of 64×64"]),
    ({"pick": "point", "y": 64}, ["the point (0, 64) lies outside"]),
    ({"pick": "mask", "mask": ["masks", 0]}, ["2 masks and 3 images"]),
    ({"bboxes": ["given", 0]}, ["boxes for 2 pictures"]),
])
def test_a_choice_that_cannot_be(host, changes, words):
    extra = {"masks": node("OddMask", frames=2, height=64, width=64, value=1.0),
             "given": detected([BOXES["coffee"]], [BOXES["coffee"]])}
    message = host.fail(picked(odd(3), **changes) | extra)
    assert all(word in message for word in words), message


def odd(frames: int) -> dict:
    return node("OddImage", frames=frames, height=64, width=64, channels=3, value=0.5)


@pytest.mark.parametrize("changes, words", [({}, "no subject found in the box: the mask is empty"),
                                            ({"pick": "point"}, "no subject found under the point")])
def test_nothing_found_is_said(host, changes, words):
    assert words in host.texts(host.run(picked(odd(1), **changes)))[0]


@pytest.mark.parametrize("boxes", ["union", "batch"])
def test_inspect_mattes_box_of_an_empty_mask_holds_nothing(host, boxes):
    empty = {"empty": node("OddMask", frames=1, height=64, width=64, value=0.0),
             "inspect": node("BiRefInspect", image=["image", 0], mask=["empty", 0], colour="red", size=64,
                             frames=1)}
    workflow = picked(odd(1), bboxes=["inspect", 6], boxes=boxes) | empty
    if boxes == "batch":  # no box, no mask, and so nothing to show
        workflow["shown"] = node("PreviewAny", source=["subject", 0])
        host.run(workflow)
    else:
        record = host.run(workflow)
        assert "no subject found in the box: the mask is empty" in " ".join(host.texts(record))
        assert values(host.pictures(record)["shown"][0], 0).max() == 0


def test_no_pictures_no_masks(host):
    workflow = picked(odd(0))
    del workflow["shown"]
    host.run(workflow | {"count": node("PreviewAny", source=["subject", 0])})


def test_a_coarse_mask_of_another_size_is_resized_and_said_so(host):
    mask = {"mask": node("OddMask", frames=1, height=32, width=48, value=1.0)}
    record = host.run(picked(odd(1), pick="mask", mask=["mask", 0]) | mask)
    assert host.pictures(record)["shown"][0].size == (64, 64)
    assert "the mask (48×32) was resized to the picture (64×64)" in host.texts(record)[0]
