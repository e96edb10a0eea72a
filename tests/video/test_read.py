"""Reading: upright pictures at their own times, and a sentence for everything that is no whole video."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import pictures, set_display_matrix, write
from PIL import Image

from birefnet import video

UNEVEN = [0, 1000, 1500, 5000, 5001, 9000]  # in ticks of 1/10000 s


def brightness(path: Path, *window: float) -> list[int]:
    """Which of `pictures()` the frames are."""
    with video.VideoClip(path, *window) as clip:
        return [round((float(picture[24, 32].mean()) * 255 - 40) / 10) for _, picture in clip]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".ts"])
def test_every_picture_in_order(tmp_path, suffix):
    path = write(tmp_path / f"clip{suffix}", pictures(12), options={"crf": "12", "bf": "0"})
    assert brightness(path) == list(range(12))
    with video.VideoClip(path) as clip:
        assert (clip.height, clip.width, clip.rate) == (48, 64, 25)
        assert clip.count == pytest.approx(12, abs=1)
        times = [float(time) for time, _ in clip]
    late = times[0] if suffix == ".avi" else 0  # its writer delays H.264 by a frame
    assert times == pytest.approx([late + i / 25 for i in range(12)], abs=1e-3)


def test_a_buffer_in_memory(tmp_path):
    data = io.BytesIO(write(tmp_path / "clip.mp4", pictures(5), sound="aac", seconds=0.2).read_bytes())
    with video.VideoClip(data) as clip:
        assert len(list(clip)) == 5
        assert clip.sound() is not None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_keeps_its_times(tmp_path, suffix):
    path = write(tmp_path / f"clip{suffix}", pictures(6), times=UNEVEN, tick=Fraction(1, 10_000))
    with video.VideoClip(path) as clip:
        times = [float(time) for time, _ in clip]
    assert times == pytest.approx([time / 10_000 for time in UNEVEN], abs=1e-4 if suffix == ".mp4" else 1e-3)


# Display matrix (a, b, c, d) and where the stored picture's top left corner is to be seen: (row, column).
TURNS = {"upright": ((1, 0, 0, 1), (0, 0)), "a quarter right": ((0, 1, -1, 0), (0, -1)),
         "half": ((-1, 0, 0, -1), (-1, -1)), "a quarter left": ((0, -1, 1, 0), (-1, 0)),
         "mirrored": ((-1, 0, 0, 1), (0, -1)), "upside down": ((1, 0, 0, -1), (-1, 0)),
         "across the diagonal": ((0, 1, 1, 0), (0, 0)),
         "across the other diagonal": ((0, -1, -1, 0), (-1, -1))}


@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_turned_upright(tmp_path, turn):
    matrix, corner = TURNS[turn]
    image = np.full((32, 64, 3), 60, np.uint8)
    image[:8, :8] = 220
    path = write(tmp_path / "turned.mp4", [image] * 3)
    set_display_matrix(path, *matrix)
    with video.VideoClip(path) as clip:
        _, picture = next(iter(clip))
        assert picture.shape[:2] == (clip.height, clip.width) == ((64, 32) if matrix[1] else (32, 64))
    corners = {place: float(picture[place].mean()) for place in ((0, 0), (0, -1), (-1, 0), (-1, -1))}
    assert max(corners, key=corners.get) == corner
    rows, columns = ("lower" if place else "upper" for place in corner)
    assert corners[corner] > 0.75, (rows, columns)


def test_turning_agrees_with_pyav(tmp_path):
    """PyAV gives the rotation counter-clockwise, as ComfyUI's own loader uses it."""
    path = write(tmp_path / "turned.mp4", pictures(1))
    set_display_matrix(path, 0, 1, -1, 0)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        expected = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) / 255
    with video.VideoClip(path) as clip:
        _, picture = next(iter(clip))
    assert np.abs(picture.numpy() - expected).max() < 0.03


def test_pixels_that_are_not_square_turn_along(tmp_path):
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24")))
        container.mux(stream.encode(None))
    with video.VideoClip(tmp_path / "wide.mp4") as clip:
        assert clip.aspect == Fraction(4, 3)
    set_display_matrix(tmp_path / "wide.mp4", 0, 1, -1, 0)
    with video.VideoClip(tmp_path / "wide.mp4") as clip:
        assert (clip.height, clip.width, clip.aspect) == (64, 48, Fraction(3, 4))


def test_a_window_of_a_clip_begins_at_zero(tmp_path):
    path = write(tmp_path / "clip.mp4", pictures(20), options={"g": "7", "crf": "12"})
    assert brightness(path, 0.4, 0.2) == [10, 11, 12, 13, 14]
    assert brightness(path, 0.4) == list(range(10, 20))
    with video.VideoClip(path, 0.4, 0.2) as clip:
        assert clip.count == 5
        assert next(iter(clip))[0] == 0


def test_a_stream_that_begins_late_begins_at_zero(tmp_path):
    path = write(tmp_path / "clip.ts", pictures(10), times=range(50, 60))
    with video.VideoClip(path) as clip:
        assert [round(float(time) * 25, 2) for time, _ in clip] == list(range(10))


@pytest.mark.parametrize("kind", ["vp9", "prores"])
def test_alpha_comes_back(tmp_path, kind):
    ramp = torch.linspace(0, 1, 64).expand(48, 64)
    picture = torch.stack([torch.full_like(ramp, 0.5)] * 3 + [ramp], -1)
    path = tmp_path / f"alpha{video.FORMATS[kind].suffix}"
    clip = video.TensorClip(picture[None], Fraction(25))
    with video.writing(path, clip, kind) as writer:
        for time, shown in clip:
            writer.write(time, shown)
    with video.VideoClip(path) as again:
        (_, seen), = again
    torch.testing.assert_close(seen, picture, atol=0.03 if kind == "vp9" else 0.01, rtol=0)


def test_grey_with_alpha_keeps_its_alpha(tmp_path):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    picture = Image.fromarray(np.stack([np.full_like(ramp, 100), ramp], -1), "LA")
    picture.save(tmp_path / "grey.apng", "PNG", save_all=True, append_images=[picture])
    with video.VideoClip(tmp_path / "grey.apng") as clip:
        pixels = [picture for _, picture in clip]
    for picture in pixels:
        torch.testing.assert_close(picture[..., 3], torch.from_numpy(ramp) / 255, atol=3e-3, rtol=0)
        torch.testing.assert_close(picture[..., :3], torch.full((48, 64, 3), 100 / 255), atol=1e-2, rtol=0)


@pytest.mark.parametrize("sizes", [((48, 64), (64, 96)), ((64, 96), (48, 64))])
def test_pictures_of_another_size_become_as_large_as_the_first(tmp_path, sizes):
    """Joined files, calls over a network."""
    parts = [write(tmp_path / f"{size[0]}.h264", pictures(5, *size)).read_bytes() for size in sizes]
    (tmp_path / "joined.h264").write_bytes(b"".join(parts))
    with video.VideoClip(tmp_path / "joined.h264") as clip:
        shown = torch.stack([picture for _, picture in clip])
        assert shown.shape == (10, *sizes[0], 3) == (10, clip.height, clip.width, 3)
    centre = shown[:, sizes[0][0] // 2, sizes[0][1] // 2].mean(-1) * 255
    assert (((centre - 40) / 10).round().tolist()) == [0, 1, 2, 3, 4] * 2


def test_pictures_in_memory():
    images = torch.rand(3, 8, 10, 3)
    clip = video.TensorClip(images, Fraction(30000, 1001))
    assert [(time, picture is not None) for time, picture in clip] == [(i * Fraction(1001, 30000), True)
                                                                       for i in range(3)]
    assert (clip.height, clip.width, clip.count) == (8, 10, 3)


def no_video(folder: Path) -> dict[str, tuple[Path, str]]:
    """What people connect instead of a whole video, and the words that they read."""
    whole = write(folder / "whole.mp4", pictures(60), options={"g": "10", "crf": "12"}, movflags="+faststart")
    late = write(folder / "late.mp4", pictures(60), options={"g": "10", "crf": "12"})
    matroska = write(folder / "whole.mkv", pictures(60))
    data = whole.read_bytes()
    cases = {"empty": (b"", "is empty"),
             "text": (b"Dear diary, " * 100, "expected a video, got something else"),
             "cut off": (data[:len(data) * 2 // 3], "cut off"),
             "cut off, header last": (late.read_bytes()[:-400], "cut off"),
             "cut off matroska": (matroska.read_bytes()[:matroska.stat().st_size // 2], "cut off")}
    made = {}
    for name, (content, words) in cases.items():
        made[name] = folder / f"{name}{'.mkv' if 'matroska' in name else '.mp4'}", words
        made[name][0].write_bytes(content)
    (folder / "folder.mp4").mkdir()
    return made | {
        "missing": (folder / "missing.mp4", "no such file"), "folder": (folder / "folder.mp4", "folder"),
        "only sound": (write(folder / "sound.m4a", [], sound="aac", seconds=1.0), "only sound")}


CASES = ["empty", "text", "cut off", "cut off, header last", "cut off matroska", "missing", "folder",
         "only sound"]


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_whole_video_is_one_sentence(tmp_path, case):
    path, words = no_video(tmp_path)[case]
    with pytest.raises(video.VideoError) as raised, video.VideoClip(path) as clip:
        list(clip)
    message = str(raised.value)
    assert words in message and str(path) in message and "\n" not in message, message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path / "clip.mp4", pictures(1))
    path.chmod(0)
    with pytest.raises(video.VideoError, match="no permission"):
        video.VideoClip(path)


def test_a_window_behind_the_end_is_one_sentence(tmp_path):
    path = write(tmp_path / "clip.mp4", pictures(5))
    with pytest.raises(video.VideoError, match="no picture in it between 3 and 4 s"):
        video.VideoClip(path, 3.0, 1.0)


def test_a_cover_is_not_a_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        track = container.add_stream("mp3", rate=44100, layout="stereo")
        cover = container.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24")))
        container.mux(cover.encode(None))
        tone = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), format="fltp", layout="stereo")
        tone.sample_rate = 44100
        container.mux(track.encode(tone))
        container.mux(track.encode(None))
    with pytest.raises(video.VideoError, match="only sound"):
        video.VideoClip(path)


def test_damaged_pictures_are_left_out_and_the_rest_keeps_its_times(tmp_path, caplog):
    path = write(tmp_path / "clip.avi", pictures(12), codec="png", pixels="rgb24")
    data = bytearray(path.read_bytes())
    at = data.index(b"00dc", len(data) // 2) + 8
    data[at:at + 40] = bytes(40)
    path.write_bytes(data)
    with video.VideoClip(path) as clip:
        times = [round(float(time) * 25) for time, _ in clip]
    assert 9 <= len(times) <= 11 and times[-1] == 11  # decoding in threads may lose a neighbour
    assert sorted(set(times)) == times
    assert "1 damaged" in caplog.text


def test_no_pictures_in_memory_is_one_sentence():
    with pytest.raises(video.VideoError, match="no picture"):
        video.TensorClip(torch.zeros(0, 4, 4, 3), Fraction(25))


def test_without_pyav_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(video.VideoError, match="pip install"):
        video.VideoClip(tmp_path / "clip.mp4")
