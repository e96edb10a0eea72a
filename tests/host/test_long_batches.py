"""Long batches: memory stays bounded, and the user can stop one."""

from __future__ import annotations

from known import PHOTO
from workflow import node, segmented

FRAMES, HEIGHT, WIDTH = 20, 540, 960
MIB = 2**20


def video(host, frames: int) -> dict:
    return {"photo": node("LoadImage", image=host.upload(PHOTO)),
            "scaled": node("ImageScale", image=["photo", 0], upscale_method="bilinear", width=WIDTH,
                           height=HEIGHT,
                           crop="center"),
            } | segmented(node("RepeatImageBatch", image=["scaled", 0], amount=frames)) | {
            "coverage": node("PreviewAny", source=["segment", 2])}


def test_twenty_frames_need_no_more_memory_than_their_pixels_and_one_pass(host):
    host.run(video(host, 1))  # loads the model, and allocates one frame's activations
    with host.peak_memory() as grown:
        host.run(video(host, FRAMES))
    pixels = FRAMES * HEIGHT * WIDTH * 4 * (3 + 1 + 4) / MIB  # image, mask and cutout in float32
    assert pixels / 2 < grown() < pixels + 400


def test_an_interrupted_batch_stops_at_once_and_the_queue_lives_on(host):
    reached = []

    def stop_near_the_third(event: str, data: dict) -> None:
        if event == "progress" and data["node"] == "segment":  # the host skips some if they come too fast
            if not any(value >= 3 for value in reached) and data["value"] >= 3:
                host.interrupt()
            reached.append(data["value"])

    record = host.watch(video(host, 200), stop_near_the_third)
    assert "execution_interrupted" in [event for event, _ in record["status"]["messages"]]
    assert 3 <= max(reached) < 100
    host.run(video(host, 1))
