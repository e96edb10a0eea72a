"""Smooth over Time inside the host: masks of any count and size, calmed."""

from __future__ import annotations

import numpy as np
from host import values
from workflow import node


def picture(frames: int, **changes) -> dict:
    return node("OddImage",
                **{"frames": frames, "height": 64, "width": 96, "channels": 3, "value": 0.5} | changes)


def mask(frames: int, value: float, **changes) -> dict:
    return node("OddMask", **{"frames": frames, "height": 64, "width": 96, "value": value} | changes)


def smoothed(image: dict, masks: dict, strength: float = 0.75) -> dict:
    return masks | {"image": image, "smooth": node("BiRefTemporal", image=["image", 0], mask=["mask", 0],
                                                   strength=strength),
                    "shown": node("MaskPreview", mask=["smooth", 0])}


def shown(host, workflow: dict) -> list[np.ndarray]:
    return [values(picture, 0) for picture in host.pictures(host.run(workflow))["shown"]]


def flickering() -> dict:
    """Three masks of 1, then one of 0."""
    return {"ones": mask(3, 1.0), "miss": mask(1, 0.0), "as_images": node("MaskToImage", mask=["ones", 0]),
            "miss_image": node("MaskToImage", mask=["miss", 0]),
            "joined": node("ImageBatch", image1=["as_images", 0], image2=["miss_image", 0]),
            "mask": node("ImageToMask", image=["joined", 0], channel="red")}


def test_a_lone_miss_is_mended_as_far_as_the_strength_goes(host):
    levels = [alpha.mean() for alpha in shown(host, smoothed(picture(4), flickering()))]
    np.testing.assert_allclose(levels, [1, 1, 1, 0.75], atol=0.01)


def test_strength_nought_changes_nothing(host):
    levels = [alpha.mean() for alpha in shown(host, smoothed(picture(4), flickering(), 0.0))]
    np.testing.assert_allclose(levels, [1, 1, 1, 0], atol=0.01)


def test_masks_of_another_size_take_the_frames(host):
    results = shown(host, smoothed(picture(2), {"mask": mask(1, 1.0, height=30, width=50)}))
    assert [alpha.shape for alpha in results] == [(64, 96)] * 2


def test_counts_that_do_not_meet(host):
    message = host.fail(smoothed(picture(3), {"mask": mask(2, 1.0)}))
    assert "2 masks and 3 images" in message, message


def test_no_frames_are_no_error(host):
    workflow = {"image": picture(0), "mask": mask(0, 1.0),
                "smooth": node("BiRefTemporal", image=["image", 0], mask=["mask", 0], strength=0.5),
                "count": node("PreviewAny", source=["smooth", 0])}
    host.run(workflow)
