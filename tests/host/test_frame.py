"""Frame Subject inside the host: a catalogue of a batch, a crop of the photograph, and pasting it back."""

from __future__ import annotations

import numpy as np
import pytest
from host import values
from known import MASK
from workflow import node

DEFAULTS = {"width": 400, "height": 400, "margin": 5.0, "margin_unit": "per cent", "position": "centre",
            "ground": 5.0,
            "scale_by": "fit", "share": 0.0, "aspect": "free", "multiple": "1", "threshold": 0.5,
            "background": "colour", "colour": "white", "fit": "fill", "blur": 2.0, "shadow": "none",
            "shadow_strength": 0.5, "shadow_softness": 5.0, "shadow_x": 0.0, "shadow_y": 1.0}
CROPPED = {"width": 0, "height": 0, "margin": 20.0, "margin_unit": "pixels"}


def framed(**changes) -> dict:
    return node("BiRefFrame", **{"image": ["photo", 0], "mask": ["mask", 0]} | DEFAULTS | changes)


def shown(host, workflow: dict, source: str, output: int = 0) -> list[np.ndarray]:
    workflow = workflow | {"shown": node("PreviewImage", images=[source, output])}
    return [values(picture) for picture in host.pictures(host.run(workflow))["shown"]]


def box(mask: np.ndarray) -> tuple[int, ...]:
    """Return top, left, bottom, right of the pixels that are at least half opaque."""
    rows, columns = (np.flatnonzero((mask >= 0.5).any(axis)) for axis in (1, 0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


@pytest.fixture(scope="module")
def sources(host, photo) -> dict:
    return {"photo": node("LoadImage", image=photo),
            "mask": node("LoadImageMask", image=host.upload(MASK), channel="red")}


def test_a_batch_stands_on_one_line_equally_high(host, sources):
    """The photograph, and a part of it at half the size."""
    workflow = sources | {
        "half": node("ImageScaleBy", image=["photo", 0], upscale_method="area", scale_by=0.5),
        "placed": node("ImageCompositeMasked", destination=["grey", 0], source=["half", 0], x=30, y=200,
                       resize_source=False),
        "grey": node("EmptyImage", width=800, height=960, batch_size=1, color=0x808080),
        "mask_image": node("MaskToImage", mask=["mask", 0]),
        "half_mask": node("ImageScaleBy", image=["mask_image", 0], upscale_method="area", scale_by=0.5),
        "black": node("EmptyImage", width=800, height=960, batch_size=1, color=0),
        "placed_mask": node("ImageCompositeMasked", destination=["black", 0], source=["half_mask", 0], x=30,
                            y=200,
                            resize_source=False),
        "photos": node("ImageBatch", image1=["photo", 0], image2=["placed", 0]),
        "mask_images": node("ImageBatch", image1=["mask_image", 0], image2=["placed_mask", 0]),
        "masks": node("ImageToMask", image=["mask_images", 0], channel="red"),
        "frame": framed(image=["photos", 0], mask=["masks", 0], position="bottom", ground=10.0,
                        scale_by="height",
                        share=70.0, shadow="contact"),
        "alphas": node("MaskToImage", mask=["frame", 1])}
    alphas = [alpha[..., 0] for alpha in shown(host, workflow, "alphas")]
    assert len(alphas) == 2
    for alpha in alphas:
        top, left, bottom, right = box(alpha)
        assert (top, bottom) == pytest.approx((80, 360), abs=1)
        assert left == pytest.approx(400 - right, abs=1)
    for picture in shown(host, workflow, "frame"):
        assert picture.shape == (400, 400, 3)
        assert (picture[:30] == 1).all()  # white above
        assert picture[362, 200].max() < 0.9  # and a shadow below


def test_cropped_the_photograph_keeps_its_pixels(host, sources, pixels, known):
    frame = framed(**CROPPED, background="original")
    picture, = shown(host, sources | {"frame": frame}, "frame")
    top, left, bottom, right = box(known)
    top, left = top - 20, left - 20
    height, width = bottom + 20 - top, right + 20 - left
    inside = pixels[max(top, 0):top + height, max(left, 0):left + width]
    assert picture.shape == (height, width, 3)
    first = max(-top, 0), max(-left, 0)
    assert np.array_equal(picture[first[0]:first[0] + inside.shape[0], first[1]:first[1] + inside.shape[1]],
                          inside)


def test_what_became_of_the_frame_goes_back_into_the_photograph(host, sources, pixels, known):
    workflow = sources | {
        "frame": framed(**CROPPED, background="colour"),
        "inverted": node("ImageInvert", image=["frame", 0]),
        "pasted": node("BiRefInpaintPaste", crop=["frame", 2], image=["inverted", 0])}
    pasted, = shown(host, workflow, "pasted")
    assert np.array_equal(pasted[known == 0], pixels[known == 0])
    assert np.abs(pasted - (1 - pixels))[known == 1].max() < 2 / 255


def test_what_is_missing_is_said(host, sources):
    nothing = sources | {"mask": node("SolidMask", value=0.0, width=8, height=8), "frame": framed()}
    record = host.run(nothing | {"shown": node("PreviewImage", images=["frame", 0])})
    assert "the mask is empty" in record["outputs"]["frame"]["text"][0]
    wide = sources | {"frame": framed(width=100, scale_by="height", share=90.0)}
    record = host.run(wide | {"shown": node("PreviewImage", images=["frame", 0])})
    assert "no room for that height" in record["outputs"]["frame"]["text"][0]
    failing = sources | {"frame": framed(**CROPPED, scale_by="area")}
    assert "Set width and height" in host.fail(failing | {"shown": node("PreviewImage", images=["frame", 0])})
