"""Trimap inside the host: widths in both units, thresholds, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from host import values
from PIL import Image
from workflow import node

SETTINGS = {"inward": 10.0, "outward": 10.0, "unit": "pixels", "sure_background": 0.05, "sure_subject": 0.95}
SURE, BAND, NOTHING = 1.0, 0.5, 0.0


@pytest.fixture(scope="module")
def half(host, tmp_path_factory) -> dict:
    """A mask of 200×100 whose right half is subject."""
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, 100:] = 255
    file = tmp_path_factory.mktemp("half") / "half.png"
    Image.fromarray(picture).save(file)
    return node("LoadImageMask", image=host.upload(file), channel="red")


def divided(mask: dict, **changes) -> dict:
    return {"mask": mask, "divide": node("BiRefTrimap", mask=["mask", 0], **SETTINGS | changes),
            "trimap": node("MaskPreview", mask=["divide", 0]),
            "unknown": node("MaskPreview", mask=["divide", 1])}


@pytest.mark.parametrize("unit, inward, outward", [("pixels", 6, 20), ("per cent", 3, 10)])
def test_the_band_is_as_wide_as_asked_on_either_side(host, half, unit, inward, outward):
    shown = host.pictures(host.run(divided(half, unit=unit, inward=inward, outward=outward)))
    expected = np.full((100, 200), SURE)
    expected[:, :106] = BAND
    expected[:, :80] = NOTHING
    np.testing.assert_allclose(values(shown["trimap"][0], 0), expected, atol=1 / 255)
    np.testing.assert_allclose(values(shown["unknown"][0], 0), expected == BAND, atol=1 / 255)


@pytest.mark.parametrize("value, expected", [(0.04, NOTHING), (0.3, BAND), (0.97, SURE)])
def test_a_soft_mask_is_divided_by_its_values(host, value, expected):
    mask = node("OddMask", frames=2, height=33, width=47, value=value)
    for trimap in host.pictures(host.run(divided(mask)))["trimap"]:
        np.testing.assert_allclose(values(trimap, 0), np.full((33, 47), expected), atol=1 / 255)


def test_thresholds_the_wrong_way_round_are_told(host, half):
    message = host.fail(divided(half, sure_background=0.9, sure_subject=0.1))
    assert "background 0.9" in message and "subject 0.1" in message


def test_an_empty_batch_is_no_error(host):
    workflow = divided(node("OddMask", frames=0, height=64, width=64, value=1.0))
    host.run({name: workflow[name]
              for name in ("mask", "divide")} | {"count": node("PreviewAny", source=["divide", 1])})
