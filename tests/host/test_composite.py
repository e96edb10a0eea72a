"""Composite inside the host: against core's Image Composite Masked, flat RGB, batches, and errors."""

from __future__ import annotations

import numpy as np
import pytest
from host import iou, values
from known import DATA, MASK
from workflow import node

PLAIN = {"background": "colour", "colour": "white", "fit": "fill", "blur": 2.0, "canvas": "picture",
         "position": "in place", "x": 0.0, "y": 0.0, "scale": 1.0, "opacity": 1.0, "linear_light": False,
         "shadow": "none", "shadow_strength": 0.5, "shadow_softness": 5.0, "shadow_x": 0.0, "shadow_y": 1.0,
         "light_wrap": 0.0, "light_wrap_width": 1.0}


def composited(image: list, **changes) -> dict:
    return node("BiRefComposite", image=image, **PLAIN | changes)


def shown(host, workflow: dict, source: str = "composite", output: int = 0) -> list[np.ndarray]:
    workflow = workflow | {"shown": node("PreviewImage", images=[source, output])}
    return [values(picture) for picture in host.pictures(host.run(workflow))["shown"]]


@pytest.fixture(scope="module")
def sources(host, photo) -> dict:
    """Nodes: the photograph "photo", its mask "mask" and a picture "beach" of another size."""
    return {"photo": node("LoadImage", image=photo),
            "mask": node("LoadImageMask", image=host.upload(MASK), channel="red"),
            "beach": node("LoadImage", image=host.upload(DATA / "raccoon.jpg"))}


def test_equal_to_image_composite_masked(host, sources):
    """On a canvas of the background's size, pixel for pixel, the subject moved beyond the canvas's edge."""
    core = node("ImageCompositeMasked", destination=["beach", 0], source=["photo", 0], x=331, y=57,
                resize_source=False, mask=["mask", 0])
    ours = composited(["photo", 0], mask=["mask", 0], background_image=["beach", 0], background="image",
                      canvas="background image", position="top left", x=331.0, y=57.0)
    both = sources | {"core": core, "ours": ours}
    expected, = shown(host, both, "core")
    assert np.array_equal(shown(host, both, "ours")[0], expected)


def test_the_alpha_is_where_the_subject_ended_up(host, sources):
    workflow = sources | {
        "composite": composited(["photo", 0], mask=["mask", 0], x=100.0, shadow="drop"),
        "alpha": node("MaskToImage", mask=["composite", 1]),
        "mask_image": node("MaskToImage", mask=["mask", 0])}
    alpha, = shown(host, workflow, "alpha")
    before, = shown(host, workflow, "mask_image")
    assert np.array_equal(alpha[:, 100:], before[:, :-100])


def test_a_turned_subject_keeps_its_middle_and_its_size(host, sources):
    """Half a turn at half its size: upside down around the middle of its own box."""
    workflow = sources | {
        "straight": composited(["photo", 0], mask=["mask", 0], scale=0.5),
        "turned": composited(["photo", 0], mask=["mask", 0], scale=0.5, rotation=180.0)}
    alphas = [node("MaskToImage", mask=[name, 1]) for name in ("straight", "turned")]
    straight, turned = (shown(host, workflow | {"alpha": alpha}, "alpha")[0][..., 0] for alpha in alphas)
    rows, columns = (np.flatnonzero(straight.max(axis) > 0.5) for axis in (1, 0))
    box = np.s_[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    assert iou(turned[box], straight[box][::-1, ::-1]) > 0.98 > 0.9 > iou(turned[box], straight[box])


def test_a_cutout_brings_its_own_mask(host, sources):
    """RGBA from Join Image with Alpha, with the same mask beside it and without: the mask is not applied
    twice."""
    rgba = {"inverted": node("InvertMask", mask=["mask", 0]),
            "joined": node("JoinImageWithAlpha", image=["photo", 0], alpha=["inverted", 0])}
    flat, = shown(host, sources | {"composite": composited(["photo", 0], mask=["mask", 0], colour="navy")})
    alone, = shown(host, sources | rgba | {"composite": composited(["joined", 0], colour="navy")})
    both, = shown(host,
                  sources | rgba | {"composite": composited(["joined", 0], mask=["mask", 0], colour="navy")})
    assert flat.shape[-1] == 3
    assert np.abs(alone - flat).max() < 1.5 / 255 and np.abs(both - flat).max() < 1.5 / 255


def test_transparent_is_rgba_with_the_shadow(host, sources):
    workflow = sources | {"composite": composited(["photo", 0], mask=["mask", 0], background="transparent",
                                                  shadow="drop", shadow_x=-10.0)}
    picture, = shown(host, workflow)
    known, = shown(host, sources | {"mask_image": node("MaskToImage", mask=["mask", 0])}, "mask_image")
    assert picture.shape[-1] == 4
    assert (picture[..., 3] >= known[..., 0] - 1 / 255).all()
    assert picture[..., 3].sum() > 1.02 * known[..., 0].sum()


@pytest.mark.parametrize("pictures, backdrops", [(3, 1), (1, 3), (3, 3)])
def test_one_background_for_many_and_many_for_one(host, pictures, backdrops):
    workflow = {"image": node("OddImage", frames=pictures, height=40, width=30, channels=3, value=1.0),
                "mask": node("OddMask", frames=1, height=20, width=15, value=0.25),
                "behind": node("OddImage", frames=backdrops, height=10, width=50, channels=1, value=0.0),
                "composite": composited(["image", 0], mask=["mask", 0], background_image=["behind", 0],
                                        background="image")}
    frames = shown(host, workflow)
    assert len(frames) == 3 and all(frame.shape == (40, 30, 3) for frame in frames)
    assert all(np.abs(frame - 0.25).max() < 1 / 255 for frame in frames)


def odd(frames: int = 1, channels: int = 3) -> dict:
    return node("OddImage", frames=frames, height=16, width=16, channels=channels, value=0.5)


BAD = {
    "no mask": ({}, ["Connect mask"]),
    "no background": ({"background": "image", "mask": ["mask", 0]}, ["Connect background_image"]),
    "no canvas": ({"canvas": "background image", "mask": ["mask", 0]}, ["Connect background_image"]),
    "no colour": ({"colour": "#12", "mask": ["mask", 0]}, ["expected a colour", "#12"]),
    "a colour to see through": ({"colour": "#ffffff80", "mask": ["mask", 0]}, ["transparent"]),
    "counts": ({"background_image": ["two", 0], "mask": ["mask", 0], "image": ["three", 0],
                "background": "image"},
               ["2 background images and 3 pictures"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_said(host, case):
    changes, words = BAD[case]
    composite = composited(["one", 0])
    composite["inputs"] |= changes
    message = host.fail({"one": odd(), "two": odd(2), "three": odd(3), "composite": composite,
                         "mask": node("OddMask", frames=1, height=16, width=16, value=1.0),
                         "shown": node("PreviewImage", images=["composite", 0])})
    assert all(word in message for word in words), message


def test_an_empty_mask_is_said(host):
    """As Load Image gives it for a picture without transparency: 64×64 zeros."""
    record = host.run({"one": odd(), "mask": node("OddMask", frames=1, height=64, width=64, value=0.0),
                       "composite": composited(["one", 0], mask=["mask", 0]),
                       "shown": node("PreviewImage", images=["composite", 0])})
    assert host.texts(record) == ["the mask (64×64) was resized to the picture (16×16); the mask is empty: "
                                  "there is nothing but background"]
    assert values(host.pictures(record)["shown"][0]).min() == 1


def test_an_empty_batch_is_no_error(host):
    host.run({"none": odd(0), "mask": node("OddMask", frames=1, height=16, width=16, value=1.0),
              "composite": composited(["none", 0], mask=["mask", 0]),
              "count": node("PreviewAny", source=["composite", 0])})
