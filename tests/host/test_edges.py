"""Refine Edges inside the host: each method on a real mask, unchanged parts, batches, and messages."""

from __future__ import annotations

import numpy as np
import pytest
from host import values
from known import DATA
from PIL import Image
from workflow import load, node

SETTINGS = {"method": "closed form", "low": 0.05, "high": 0.95, "window": 0, "size": 0, "radius": 0}


def refined(picture: dict, alpha: dict | None = None, **changes) -> dict:
    """Segment, or `alpha`, and Refine Edges after it; "first" shows the mask before, "shown" after."""
    inputs = {"image": ["picture", 0], "mask": ["alpha", 0], **SETTINGS} | changes
    segment = node("BiRefSegment", model=["model", 0], image=["picture", 0], size=0, frames_per_pass=0)
    return {"model": load(), "picture": picture, "alpha": alpha or segment,
            "edges": node("BiRefEdgeRefine", **inputs),
            "first": node("MaskPreview", mask=["alpha", 0]), "shown": node("MaskPreview", mask=["edges", 0])}


def odd(kind: str, **changes) -> dict:
    channels = {"channels": 3} if kind == "OddImage" else {}
    return node(kind, **{"frames": 1, "height": 64, "width": 64, "value": 0.5} | channels | changes)


@pytest.mark.parametrize("changes", [{"method": "network", "model": ["model", 0], "window": 512},
                                     {"method": "guided"}, {"method": "closed form"}],
                         ids=lambda changes: changes["method"])
def test_what_was_uncertain_gains_detail_and_the_rest_stays(host, tmp_path, changes):
    hairs = node("LoadImage", image=host.upload(DATA / "dandelion.jpg"))
    mask = Image.open(DATA / "dandelion_mask.png").convert("L")
    coarse = mask.resize((mask.width // 12, mask.height // 12), Image.Resampling.BOX)
    coarse.resize(mask.size, Image.Resampling.BICUBIC).save(tmp_path / "coarse.png")
    alpha = node("LoadImageMask", image=host.upload(tmp_path / "coarse.png"), channel="red")
    pictures = host.pictures(host.run(refined(hairs, alpha, **changes)))
    first, after = (values(pictures[name][0], 0) for name in ("first", "shown"))
    certain = (first <= 0.05 - 1 / 255) | (first >= 0.95 + 1 / 255)  # 8-bit previews
    assert np.array_equal(first[certain], after[certain])
    assert np.abs(after - first)[~certain].mean() > 0.005
    assert roughness(after) > 1.1 * roughness(first)


def roughness(mask: np.ndarray) -> float:
    """Return the mean difference of neighbouring pixels, over those that differ."""
    step = np.abs(np.diff(mask, axis=1))
    return float((step**2).mean())


def test_core_s_own_kind_of_model_is_asked_too(host):
    """One that says .5 everywhere leaves a mask of .5 as it is."""
    workflow = refined(odd("OddImage"), odd("OddMask"), method="network", model=["other", 0], window=32)
    shown = host.pictures(host.run(workflow | {"other": node("OtherModel", value=0.5, frames=1)}))["shown"][0]
    assert np.abs(values(shown, 0) - 0.5).max() < 2 / 255


@pytest.mark.parametrize("images, masks, count", [(1, 3, 3), (3, 1, 3), (2, 2, 2)])
def test_one_serves_many(host, images, masks, count):
    record = host.run(refined(odd("OddImage", frames=images), odd("OddMask", frames=masks)))
    assert len(host.pictures(record)["shown"]) == count


@pytest.mark.parametrize("changes, words", [
    ({"method": "network"}, ["Connect model"]),
    ({"low": 0.9, "high": 0.2}, ["Lower low or raise high"]),
    ({"image": ["three", 0], "mask": ["two", 0]}, ["2 masks and 3 images"]),
])
def test_what_cannot_be(host, changes, words):
    extra = {"three": odd("OddImage", frames=3), "two": odd("OddMask", frames=2)}
    message = host.fail(refined(odd("OddImage"), odd("OddMask"), **changes) | extra)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("mask, words", [
    ({"value": 1.0}, "nothing to refine: no mask value lies between 0.05 and 0.95"),
    ({"height": 32, "width": 48}, "the mask (48×32) was resized to the picture (64×64)"),
])
def test_what_may_surprise_is_said(host, mask, words):
    record = host.run(refined(odd("OddImage"), odd("OddMask", **mask)))
    assert words in host.texts(record)[0]
    assert host.pictures(record)["shown"][0].size == (64, 64)


def test_no_pictures_no_masks(host):
    workflow = refined(odd("OddImage", frames=0), odd("OddMask", frames=0))
    workflow = {key: value for key, value in workflow.items() if key not in ("first", "shown")}
    host.run(workflow | {"count": node("PreviewAny", source=["edges", 0])})
