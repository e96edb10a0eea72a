"""Inspect Matte inside the host: its pictures on the node, its numbers, and the box in core's own nodes."""

from __future__ import annotations

import json

import pytest
from host import values
from known import MASK
from workflow import node


def box_of_a_bar(**changes) -> dict:
    inputs = {"image": ["picture", 0], "mask": ["bar", 0], "colour": "red", "size": 64, "frames": 4} | changes
    return {"picture": node("OddImage", frames=1, height=120, width=160, channels=3, value=0.5),
            "nothing": node("SolidMask", value=0.0, width=160, height=120),
            "solid": node("SolidMask", value=1.0, width=60, height=100),
            "bar": node("MaskComposite", destination=["nothing", 0], source=["solid", 0], x=40, y=20,
                        operation="add"),
            "inspect": node("BiRefInspect", **inputs)}


def test_the_node_shows_four_views(host):
    record = host.run(box_of_a_bar())
    picture, = host.pictures(record)["inspect"]
    assert picture.width == 2 * (64 + 2) and picture.height > 2 * 48
    assert host.texts(record) == ["the subject covers 31.2%, in a box of 60×100 pixels at (40, 20)"]


def test_coverage_and_box(host):
    numbers = {f"out{i}": node("PreviewAny", source=["inspect", i]) for i in range(1, 7)}
    record = host.run(box_of_a_bar() | numbers)
    coverage, *box, as_core = (record["outputs"][f"out{i}"]["text"][0] for i in range(1, 7))
    assert float(coverage) == pytest.approx(60 * 100 / (160 * 120))
    assert [int(side) for side in box] == [40, 20, 60, 100]
    assert json.loads(as_core) == {"x": 40, "y": 20, "width": 60, "height": 100}


def test_core_crops_by_our_box(host, object_info):
    if "ImageCropV2" not in object_info:
        pytest.skip("this ComfyUI has no Crop Image that takes a box")
    record = host.run(box_of_a_bar() | {
        "cut": node("ImageCropV2", image=["picture", 0], crop_region=["inspect", 6]),
        "shown": node("PreviewImage", images=["cut", 0])})
    assert host.pictures(record)["shown"][0].size == (60, 100)


def test_a_long_batch_shows_a_few_and_counts_all(host):
    workflow = box_of_a_bar(image=["many", 0], frames=3)
    workflow["many"] = node("OddImage", frames=9, height=120, width=160, channels=4, value=0.5)
    record = host.run(workflow | {"shown": node("PreviewImage", images=["inspect", 0])})
    assert len(host.pictures(record)["inspect"]) == len(host.pictures(record)["shown"]) == 3


@pytest.mark.parametrize("mask, frames", [("nothing", 1), ("bar", 0)])
def test_no_subject_and_no_pictures_are_no_errors(host, mask, frames):
    workflow = box_of_a_bar(mask=[mask, 0])
    workflow["picture"]["inputs"]["frames"] = frames
    record = host.run(workflow | {"width": node("PreviewAny", source=["inspect", 4])})
    assert record["outputs"]["width"]["text"] == ["0"]


def test_the_known_matte_looks_right(host, photo):
    """Views of 400×480 or so: the overlay red outside, the checkerboard light outside, alpha black
    outside."""
    workflow = {"photo": node("LoadImage", image=photo),
                "mask": node("LoadImageMask", image=host.upload(MASK), channel="red"),
                "inspect": node("BiRefInspect", image=["photo", 0], mask=["mask", 0], colour="#ff0000",
                                size=480,
                                frames=1)}
    picture = values(host.pictures(host.run(workflow))["inspect"][0])
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    corner = [picture[y:y + 20, x:x + 20].mean((0, 1)) for y in (40, height + 40) for x in (10, width + 10)]
    overlay, cutout, alpha, band = corner
    assert overlay[0] > 0.5 and overlay[1] < 0.45
    assert cutout.min() > 0.75 and alpha.max() < 0.02 and band.max() < 0.4
