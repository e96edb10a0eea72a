"""Inpaint Crop and Paste inside the host, with Invert Image instead of a diffusion model."""

from __future__ import annotations

import numpy as np
import pytest
from host import values
from known import DATA
from PIL import Image
from scipy import ndimage
from workflow import node

SETTINGS = {"region": "subject", "grow": 4.0, "feather": 4.0, "context": 25.0, "megapixels": 0.0,
            "multiple": "8",
            "max_aspect": 2.0}


@pytest.fixture(scope="module")
def sources(host) -> dict:
    return {"photo": node("LoadImage", image=host.upload(DATA / "coffee.jpg")),
            "mask": node("LoadImageMask", image=host.upload(DATA / "coffee_mask.png"), channel="red")}


def there_and_back(sources: dict, repainted: dict | None = None, **changes) -> dict:
    """Crop, the node `repainted`, and paste; "pasted" is the result."""
    return sources | {
        "crop": node("BiRefInpaintCrop", image=["photo", 0], mask=["mask", 0], **SETTINGS | changes),
        "repainted": repainted
        or node("ImageScaleBy", image=["crop", 0], upscale_method="bilinear", scale_by=1.0),
        "pasted": node("BiRefInpaintPaste", crop=["crop", 2], image=["repainted", 0])}


def shown(host, workflow: dict, node_id: str, output: int = 0) -> list[np.ndarray]:
    """Return the pictures of an output, [H,W,3]; masks as grey."""
    record = host.run(workflow | {"shown": node("PreviewImage", images=[node_id, output])})
    return [values(picture.convert("RGB")) for picture in host.pictures(record)["shown"]]


@pytest.fixture(scope="module")
def photo(host, sources) -> np.ndarray:
    return shown(host, sources, "photo")[0]


INVERT = node("ImageInvert", image=["crop", 0])


def test_nothing_repainted_is_nothing_changed(host, sources, photo):
    assert np.array_equal(shown(host, there_and_back(sources), "pasted")[0], photo)


@pytest.mark.parametrize("region", ["subject", "background"])
@pytest.mark.parametrize("megapixels", [0.0, 0.1, 1.0])
def test_outside_the_region_every_pixel_stays(host, sources, photo, region, megapixels):
    """Of a repainted part whose edge was grown by 4 and feathered over 4 pixels; well inside, everything is
    new."""
    pasted, = shown(host, there_and_back(sources, INVERT, region=region, megapixels=megapixels), "pasted")
    mask = values(Image.open(DATA / "coffee_mask.png").convert("L"))
    wide, narrow = ndimage.grey_dilation(mask, 25), ndimage.grey_erosion(mask, 25)
    outside, inside = (wide == 0, narrow == 1) if region == "subject" else (narrow == 1, wide == 0)
    assert outside.mean() > 0.2 and inside.mean() > 0.2
    assert np.array_equal(pasted[outside], photo[outside])
    assert np.abs(pasted - (1 - photo))[inside].mean() < (0.03 if megapixels else 1.5 / 255)


def test_a_size_that_the_model_likes(host, sources):
    workflow = there_and_back(sources, megapixels=0.25, multiple="64")
    crop, = shown(host, workflow, "crop")
    assert crop.shape[0] % 64 == crop.shape[1] % 64 == 0
    assert 0.7 < crop.shape[0] * crop.shape[1] / 512**2 < 1.3


def test_a_result_of_another_size_is_resized(host, sources, photo):
    smaller = node("ImageScale", image=["crop", 0], upscale_method="bicubic", width=256, height=192,
                   crop="disabled")
    pasted, = shown(host, there_and_back(sources, smaller), "pasted")
    assert pasted.shape == photo.shape and np.abs(pasted - photo).mean() < 0.02


def test_one_crop_takes_many_results(host, sources, photo):
    variants = {"variants": node("RepeatImageBatch", image=["crop", 0], amount=3)}
    workflow = there_and_back(sources, node("ImageInvert", image=["variants", 0])) | variants
    assert len(shown(host, workflow, "pasted")) == 3


def test_nothing_to_repaint_is_said(host, sources):
    empty = {"mask": node("OddMask", frames=1, height=8, width=8, value=0.0)}
    assert "nothing to repaint" in host.fail(there_and_back(sources | empty) | {
        "shown": node("PreviewImage", images=["pasted", 0])})


def test_results_and_crops_that_do_not_belong_together(host, sources):
    two = {"two": node("RepeatImageBatch", image=["photo", 0], amount=2)}
    workflow = there_and_back(sources | two, node("RepeatImageBatch", image=["photo", 0], amount=3))
    workflow["crop"]["inputs"]["image"] = ["two", 0]
    assert "2 crops and 3 repainted pictures" in host.fail(workflow | {
        "shown": node("PreviewImage", images=["pasted", 0])})
