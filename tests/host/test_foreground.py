"""Estimate Foreground inside the host: an orange subject with a soft edge, photographed before blue."""

from __future__ import annotations

import numpy as np
import pytest
from host import values
from PIL import Image
from workflow import node

ORANGE, BLUE = np.float32([1.0, 0.6, 0.0]), np.float32([0.0, 0.0, 0.8])
SETTINGS = {"method": "multi-level", "first_blur": 90, "second_blur": 6}


@pytest.fixture(scope="module")
def alpha() -> np.ndarray:
    """The mask [96,128] of a disc whose edge is 24 pixels soft."""
    y, x = np.mgrid[:96, :128]
    return np.rint(((36 - np.hypot(y - 48, x - 64)) / 24).clip(0, 1) * 255).astype(np.float32) / 255


@pytest.fixture(scope="module")
def sources(host, alpha, tmp_path_factory) -> dict:
    """Nodes that load the picture and its mask."""
    folder = tmp_path_factory.mktemp("orange")
    picture = BLUE + alpha[..., None] * (ORANGE - BLUE)
    Image.fromarray(np.uint8(np.rint(picture * 255))).save(folder / "orange.png")
    Image.fromarray(np.uint8(alpha * 255)).convert("RGB").save(folder / "orange_mask.png")
    return {"image": node("LoadImage", image=host.upload(folder / "orange.png")),
            "mask": node("LoadImageMask", image=host.upload(folder / "orange_mask.png"), channel="red")}


def estimated(sources: dict, **changes) -> dict:
    inputs = {"image": ["image", 0], "mask": ["mask", 0]} | SETTINGS | changes
    return sources | {"estimate": node("BiRefForeground", **inputs),
                      "foreground": node("PreviewImage", images=["estimate", 0]),
                      "cutout": node("PreviewImage", images=["estimate", 1])}


@pytest.mark.parametrize("method, tolerance", [("multi-level", 0.02), ("blur fusion", 0.3)])
def test_the_blue_fringe_is_gone_and_opacity_is_the_mask(host, sources, alpha, method, tolerance):
    """The picture itself is off by .95 where alpha is .05."""
    shown = host.pictures(host.run(estimated(sources, method=method)))
    foreground, cutout = values(shown["foreground"][0]), values(shown["cutout"][0])
    assert foreground.shape == (96, 128, 3) and cutout.shape == (96, 128, 4)
    seen = alpha > 0.05
    assert np.abs(foreground - ORANGE)[seen].max() < tolerance
    assert np.abs(cutout[..., 3] - alpha).max() < 1.5 / 255
    assert np.abs(cutout[..., :3] - foreground)[seen].max() < 1.5 / 255  # straight, not multiplied by alpha


def odd(frames: int = 1, height: int = 64, width: int = 64, channels: int = 3, mask_frames: int = 1) -> dict:
    return {"image": node("OddImage", frames=frames, height=height, width=width, channels=channels,
                          value=0.5),
            "mask": node("OddMask", frames=mask_frames, height=64, width=64, value=0.5)}


@pytest.mark.parametrize("frames, mask_frames", [(3, 1), (1, 3), (3, 3)])
def test_one_serves_many(host, frames, mask_frames):
    shown = host.pictures(host.run(estimated(odd(frames, mask_frames=mask_frames))))
    assert len(shown["foreground"]) == len(shown["cutout"]) == 3


def test_counts_that_do_not_match_are_told(host):
    assert "2 masks and 3 images" in host.fail(estimated(odd(frames=3, mask_frames=2)))


def test_an_empty_batch_gives_empty_batches(host):
    workflow = estimated(odd(frames=0))
    counts = {name: node("PreviewAny", source=["estimate", i])
              for i, name in enumerate(("foreground", "cutout"))}
    host.run(workflow | counts)


@pytest.mark.parametrize("height, width, channels", [(1, 1, 3), (33, 65, 4), (48, 20, 1)])
def test_any_size_and_number_of_channels(host, height, width, channels):
    shown = host.pictures(host.run(estimated(odd(1, height, width, channels))))
    assert shown["cutout"][0].size == (width, height)
    assert f"the mask (64×64) was resized to the picture ({width}×{height})" in host.log()


def test_what_is_transparent_in_the_picture_stays_so(host):
    """OddImage's fourth channel is 0.25 here, the mask 0.5."""
    sources = odd(channels=4) | {"image": node("OddImage", frames=1, height=64, width=64, channels=4,
                                               value=0.25)}
    cutout = values(host.pictures(host.run(estimated(sources)))["cutout"][0])
    assert np.abs(cutout[..., 3] - 0.25).max() < 1.5 / 255


@pytest.mark.parametrize("settings", [{"despill": "measured"}, {"despill": "colour", "colour": "#00b140"}])
def test_a_green_screens_light_is_taken_off_the_subject(host, tmp_path, settings):
    """A grey square that gets a third of the light of the screen behind it."""
    def light(levels: np.ndarray) -> np.ndarray:
        return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)

    green, grey = light(np.array([0, 177, 64]) / 255), light(np.full(3, 128 / 255))
    mask = np.zeros((96, 128), np.uint8)
    mask[24:, 40:90] = 255
    lit = np.where(mask[..., None] > 0, grey + 0.3 * green, green)
    stored = np.where(lit <= 0.0031308, 12.92 * lit, 1.055 * lit ** (1 / 2.4) - 0.055)
    Image.fromarray(np.uint8(np.rint(stored * 255))).save(tmp_path / "screen.png")
    Image.fromarray(mask).convert("RGB").save(tmp_path / "screen_mask.png")
    workflow = estimated({"image": node("LoadImage", image=host.upload(tmp_path / "screen.png")),
                          "mask": node("LoadImageMask", image=host.upload(tmp_path / "screen_mask.png"),
                                       channel="red")}, **settings)
    cutout = np.array(host.pictures(host.run(workflow))["cutout"][0])
    assert np.array_equal(cutout[..., 3], mask)
    assert np.abs(cutout[mask > 0][:, :3].astype(int) - 128).max() <= 1
    plain = workflow | {"estimate": node("BiRefForeground", image=["image", 0], mask=["mask", 0], **SETTINGS)}
    assert np.array(host.pictures(host.run(plain))["cutout"][0])[mask > 0][:, 1].min() > 150


def test_a_picture_before_no_screen_asks_for_its_colour(host, sources):
    workflow = estimated(odd(), despill="measured")
    workflow["mask"]["inputs"]["value"] = 0.0
    assert "Set the colour of a green or blue screen" in host.fail(workflow)
