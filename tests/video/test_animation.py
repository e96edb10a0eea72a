"""Animated GIF, WebP and PNG: read and written frame by frame, with their times, loops and alpha."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet import video

DURATIONS = [40, 60, 150, 330]  # ms
SUFFIXES = {"gif": ".gif", "webp": ".webp", "apng": ".png"}


def drawn(count: int = 4) -> list[np.ndarray]:
    """Pictures [48,64,4] uint8: a square of few colours with a hole that moves over nothing."""
    made = []
    for i in range(count):
        picture = np.zeros((48, 64, 4), np.uint8)
        picture[8:40, 10 + 4 * i:40 + 4 * i] = (200, 20 * i, 90, 255)
        picture[20:30, 20 + 4 * i:30 + 4 * i] = 0
        made.append(picture)
    return made


def save(path: Path, loop: int, durations: list[int] = DURATIONS) -> Path:
    first, *rest = map(Image.fromarray, drawn(len(durations)))
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=loop, lossless=True,
               disposal=2)
    return path


def stored(path: Path) -> tuple[list[np.ndarray], list[int], int | None]:
    """What Pillow finds in a file: RGBA frames, their durations in ms, its loop."""
    with Image.open(path) as image:
        frames, durations = [], []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            frames.append(np.array(image.convert("RGBA")))
            durations.append(round(image.info["duration"]))
        return frames, durations, image.info.get("loop")


@pytest.mark.parametrize("kind", SUFFIXES)
def test_frames_times_and_loops_are_read(tmp_path, kind):
    with video.open_clip(save(tmp_path / f"a{SUFFIXES[kind]}", loop=3)) as clip:
        found = list(clip)
    assert (clip.count, clip.height, clip.width) == (4, 48, 64)
    assert [round(time * 1000) for time, _ in found] == [0, 40, 100, 250] and clip.last == Fraction(33, 100)
    assert clip.plays == (4 if kind == "gif" else 3)  # a GIF is shown once, and then repeated
    for (_, picture), expected in zip(found, drawn()):
        seen = expected[..., 3] > 0
        assert torch.equal((picture[..., :3] * 255).round().byte()[seen],
                           torch.from_numpy(expected[..., :3])[seen])
        assert torch.equal(picture[..., 3] > 0, torch.from_numpy(seen))


@pytest.mark.parametrize("loop", [0, 3])
@pytest.mark.parametrize("kind", SUFFIXES)
def test_what_is_written_is_what_was_read(tmp_path, kind, loop):
    source, out = (tmp_path / f"{name}{SUFFIXES[kind]}" for name in "ab")
    with video.open_clip(save(source, loop)) as clip, video.writing(out, clip, kind) as writer:
        for time, picture in clip:
            writer.write(time, picture)
    frames, durations, again = stored(out)
    assert durations == DURATIONS and again == loop
    for found, expected in zip(frames, drawn()):
        assert np.array_equal(found[..., 3], expected[..., 3])
        assert np.array_equal(found[expected[..., 3] > 0], expected[expected[..., 3] > 0])


def test_a_gif_that_is_shown_once_stays_so(tmp_path):
    first, *rest = map(Image.fromarray, drawn())
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=DURATIONS)
    with video.open_clip(tmp_path / "a.gif") as clip, video.writing(tmp_path / "b.gif", clip,
                                                                    "gif") as writer:
        assert clip.plays == 1
        for time, picture in clip:
            writer.write(time, picture)
    assert stored(tmp_path / "b.gif")[2] is None


@pytest.mark.parametrize("kind", ["webp", "apng"])
def test_soft_alpha_is_kept_to_the_level(tmp_path, kind):
    ramp = torch.linspace(0, 1, 64).round(decimals=3)
    picture = torch.stack([torch.full((48, 64), 0.4), *ramp.expand(3, 48, 64)], dim=-1)
    clip = video.TensorClip(torch.stack([picture * shade for shade in (1, 1, 0.5, 0.5)]), Fraction(25))
    with video.writing(tmp_path / "a", clip, kind) as writer:
        for time, one in clip:
            writer.write(time, one)
    frames, durations, _ = stored(tmp_path / "a")
    assert sum(durations) == 160  # equal frames may be merged
    for found, shade in ((frames[0], 1), (frames[-1], 0.5)):
        assert np.array_equal(found[..., 3], (ramp * shade * 255).round().byte().expand(48, 64).numpy())


def test_a_gif_has_alpha_of_one_bit_and_many_colours_stay_close(tmp_path):
    shade = torch.linspace(0, 1, 64).expand(48, 64)
    picture = torch.stack([shade, 1 - shade, shade / 2, shade], dim=-1)
    clip = video.TensorClip(picture[None], Fraction(25))
    with video.writing(tmp_path / "a.gif", clip, "gif") as writer:
        writer.write(Fraction(0), picture)
    with Image.open(tmp_path / "a.gif") as image:
        found = np.array(image.convert("RGBA"))
    assert np.array_equal(found[..., 3] > 0, shade.numpy() >= 0.5)
    assert np.abs(found[..., :3] / 255 - picture[..., :3].numpy())[found[..., 3] > 0].max() < 0.03


def test_a_gif_of_more_than_fifty_frames_a_second_keeps_its_length(tmp_path):
    clip = video.TensorClip(torch.from_numpy(np.stack(drawn(12)) / 255), Fraction(60))
    with video.writing(tmp_path / "a.gif", clip, "gif") as writer:
        for time, picture in clip:
            writer.write(time, picture)
    durations = stored(tmp_path / "a.gif")[1]
    assert min(durations) >= 20 and abs(sum(durations) - 200) <= 20


def test_a_gif_without_times_takes_those_of_browsers(tmp_path):
    with video.open_clip(save(tmp_path / "a.gif", 0, [0, 10, 20])) as clip:
        assert [round(time * 1000) for time, _ in clip] == [0, 100, 200] and clip.last == Fraction(1, 50)


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_a_still_picture_is_no_clip(tmp_path, suffix):
    Image.new("RGB", (8, 8)).save(tmp_path / f"a{suffix}")
    with pytest.raises(video.VideoError, match="take `python -m birefnet cut`: .*still picture"):
        video.open_clip(tmp_path / f"a{suffix}")


def test_a_damaged_animation_is_one_sentence(tmp_path):
    whole = save(tmp_path / "a.png", 0).read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:len(whole) * 3 // 4])
    with pytest.raises(video.VideoError, match="a.png: "):
        list(video.open_clip(tmp_path / "a.png"))
