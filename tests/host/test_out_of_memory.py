"""On a device with too little memory, passes become smaller, then the processor takes over; no run fails."""

from __future__ import annotations

import numpy as np
import pytest
from host import values
from known import PHOTO
from workflow import node, segmented


def batch(host, frames: int, **changes) -> dict:
    """Six pictures through a model on a device with room for that many at a time."""
    photo = {"photo": node("LoadImage", image=host.upload(PHOTO)),
             "small": node("ImageScale", image=["photo", 0], upscale_method="bilinear", width=256, height=192,
                           crop="center")}
    workflow = photo | segmented(node("RepeatImageBatch", image=["small", 0], amount=6), model=["tight", 0],
                                 **changes)
    return workflow | {"tight": node("LittleMemory", model=["model", 0], frames=frames),
                       "shown": node("MaskPreview", mask=["segment", 0])}


def masks(host, workflow: dict) -> np.ndarray:
    return np.stack([values(picture, 0) for picture in host.pictures(host.run(workflow))["shown"]])


@pytest.mark.parametrize("room", [4, 1, 0])
def test_the_mask_is_the_same_however_little_memory_there_is(host, room):
    plenty = masks(host, batch(host, 64, frames_per_pass=6))
    assert plenty.shape == (6, 192, 256)
    tight = masks(host, batch(host, room, frames_per_pass=6))
    # The processor takes over in fp32, from what may have been a half precision.
    assert np.abs(tight - plenty).max() < (1.5 if room else 5.5) / 255  # levels of the 8-bit previews
    if room == 0:
        assert "continuing on the CPU" in host.log()


def other(value: float, room: int) -> dict:
    """Core's kind of model, which has no second device to go to."""
    picture = node("OddImage", frames=3, height=64, width=64, channels=4, value=1.0)
    return segmented(picture, model=["other", 0], frames_per_pass=3) | {
        "other": node("OtherModel", value=value, frames=room),
        "shown": node("MaskPreview", mask=["segment", 0])}


def test_a_model_of_another_pack_gets_smaller_passes(host):
    assert masks(host, other(0.8, 1)) == pytest.approx(0.8, abs=1 / 255)


def test_too_large_in_any_case_says_what_to_do_and_the_queue_lives_on(host):
    message = host.fail(other(0.8, 0))
    assert "even with one frame at a time" in message and "smaller size" in message
    masks(host, other(0.8, 1))


def test_an_empty_mask_is_told_in_the_log_and_on_the_node(host):
    record = host.run(other(0.0, 3))
    told = "no subject found in 3 of 3 pictures"
    assert any(text.startswith(told) for text in host.texts(record))
    assert told in host.log()
