"""Results: whole or not at all, with the clip's times, sound, and sides that the codec takes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import frames, frequency, pictures, planes, sine, write
from PIL import Image

from birefnet import video
from birefnet.video.sound import SoundCodecs

UNEVEN = [0, 1000, 1500, 5000, 5001, 9000]  # in ticks of 1/10000 s


def copied(source: Path, path: Path, kind: str, **window: float) -> Path:
    """The source's pictures, opaque, written as `kind`."""
    with video.VideoClip(source, **window) as clip:
        return opaque(clip, path, kind)


def opaque(clip: video.Clip, path: Path, kind: str) -> Path:
    with video.writing(path, clip, kind) as writer:
        for time, picture in clip:
            alpha = torch.ones_like(picture[..., :1])
            writer.write(time, torch.cat([picture, alpha], -1) if kind != "h264" else picture)
    return path


def named(folder: Path, kind: str, name: str = "out") -> Path:
    return folder / f"{name}{video.FORMATS[kind].suffix}"


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        return [(float(packet.pts * packet.time_base), bytes(packet))
                for packet in container.demux(**{kind: 0}) if packet.pts is not None]


def test_uneven_times_survive(tmp_path, kind):
    source = write(tmp_path / "in.mp4", pictures(6), times=UNEVEN, tick=Fraction(1, 10_000))
    result = frames(copied(source, named(tmp_path, kind), kind))
    if kind == "vp9":  # Matroska counts milliseconds
        assert [round(frame.time * 1000) for frame in result] == [0, 100, 150, 500, 501, 900]
    else:
        assert [round(frame.time * 10_000) for frame in result] == UNEVEN


def test_times_that_do_not_grow_are_moved_by_a_tick(tmp_path):
    clip = video.TensorClip(torch.zeros(1, 16, 16, 3), Fraction(25))
    with video.writing(tmp_path / "out.mp4", clip, "h264") as writer:
        for time in (0, 0, Fraction(1, 25)):
            writer.write(Fraction(time), clip.images[0])
    assert [frame.time for frame in frames(tmp_path / "out.mp4")] == pytest.approx([0, 0.04, 0.08])


@pytest.mark.parametrize("size", [(1, 1), (47, 63), (49, 64), (2, 3)])
def test_odd_sides(tmp_path, kind, size):
    """H.264 repeats the last row or column; the others take any size."""
    alpha = video.FORMATS[kind].alpha
    picture = torch.rand(*size, 4 if alpha else 3, generator=torch.Generator().manual_seed(1))
    clip = video.TensorClip(picture[None, ..., :3], Fraction(25))
    if kind == "prores" and min(size) < 2:
        pytest.skip("not a video that an editing program meets")
    with video.writing(named(tmp_path, kind), clip, kind) as writer:
        writer.write(Fraction(0), picture)
    frame, = frames(named(tmp_path, kind))
    even = [side + side % 2 for side in size]
    assert [frame.height, frame.width] == (even if kind == "h264" else list(size))
    if kind == "h264":
        luma = planes(frame)[0].astype(int)
        if size[1] % 2 and size[1] > 1:
            assert np.abs(luma[:, -1] - luma[:, -2]).max() < 30


def test_sound_is_copied_where_the_container_takes_it(tmp_path, kind):
    source = write(tmp_path / "in.mkv", pictures(25), sound="libopus" if kind == "vp9" else "aac",
                   seconds=1.0)
    result = copied(source, named(tmp_path, kind), kind)
    before, after = packets(source, "audio"), packets(result, "audio")
    assert [data for _, data in after] == [data for _, data in before]
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=2e-3)


@pytest.mark.parametrize(("sound", "kind"), [("aac", "vp9"), ("pcm_s16le", "h264"), ("flac", "prores"),
                                             ("libopus", "prores")])
def test_other_sound_is_encoded_anew(tmp_path, sound, kind):
    source = write(tmp_path / "in.mkv", pictures(25), sound=sound, seconds=1.0)
    result = copied(source, named(tmp_path, kind), kind)
    with av.open(str(result)) as container:
        track = container.streams.audio[0]
        assert track.codec_context.name == ("opus" if kind == "vp9" else "aac")
        assert float(container.duration / 1e6) == pytest.approx(1.0, abs=0.06)
    assert frequency(result) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("name", ["in.avi", "in.mkv", "in.mp4"])
@pytest.mark.parametrize("kind", ["h264", "prores"])
def test_mp3_is_copied(tmp_path, name, kind):
    """FFmpeg's decoder of it is called mp3float; in an AVI its times are rounded."""
    source = write(tmp_path / name, pictures(25), sound="libmp3lame", seconds=1.0,
                   codec="mpeg4" if name.endswith("avi") else "libx264")
    result = copied(source, named(tmp_path, kind), kind)
    assert [data for _, data in packets(result, "audio")] == [data for _, data in packets(source, "audio")]
    assert frequency(result) == pytest.approx(440, abs=3)


def test_sound_whose_times_run_back_is_encoded_all_the_same(tmp_path, monkeypatch):
    """As in an AVI with MP3 that AAC has to replace."""
    source = write(tmp_path / "in.avi", pictures(25), sound="libmp3lame", seconds=1.0, codec="mpeg4")
    monkeypatch.setitem(video.FORMATS, "h264",
                        replace(video.FORMATS["h264"], sound=SoundCodecs(frozenset(), "aac")))
    result = copied(source, tmp_path / "out.mp4", "h264")
    times = [time for time, _ in packets(result, "audio")]
    assert np.diff(times).min() > 0 and times[-1] == pytest.approx(1.0, abs=0.1)
    assert frequency(result) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("rate", [192_000, 12_345])
def test_sound_at_any_rate(tmp_path, kind, rate):
    clip = video.TensorClip(torch.rand(25, 16, 16, 3), Fraction(25), torch.from_numpy(sine(1.0, rate))[None],
                          rate)
    assert frequency(opaque(clip, named(tmp_path, kind), kind)) == pytest.approx(440, abs=3)


def test_sound_and_pictures_lie_close_together_in_the_file(tmp_path):
    source = write(tmp_path / "in.mkv", pictures(20) * 6, sound="aac", seconds=4.8)
    result = copied(source, tmp_path / "out.mkv", "vp9")
    with av.open(str(result)) as container:
        times = [(packet.stream.type, float(packet.pts * packet.time_base)) for packet in container.demux()
                 if packet.pts is not None]
    lead, latest = 0.0, {"audio": 0.0, "video": 0.0}
    for kind, time in times:
        latest[kind] = time
        lead = max(lead, abs(latest["audio"] - latest["video"]))
    assert lead < 2.0


def test_a_window_takes_its_sound_along(tmp_path):
    source = write(tmp_path / "in.mp4", pictures(20) * 2, sound="aac", seconds=1.6)
    result = copied(source, tmp_path / "out.mp4", "h264", start=0.4, duration=0.8)
    assert len(frames(result)) == 20
    times = [time for time, _ in packets(result, "audio")]
    assert times[0] < 0.03 and times[-1] == pytest.approx(0.8, abs=0.05)


def test_a_waveform_becomes_the_sound(tmp_path, kind):
    images = torch.rand(25, 16, 16, 3)
    clip = video.TensorClip(images, Fraction(25), torch.from_numpy(sine(1.0))[None], 44100)
    path = opaque(clip, named(tmp_path, kind), kind)
    assert frequency(path) == pytest.approx(440, abs=3)
    assert len(frames(path)) == 25


def test_notes_are_in_the_file(tmp_path, kind):
    clip = video.TensorClip(torch.zeros(1, 16, 16, 3), Fraction(25))
    path = named(tmp_path, kind)
    with video.writing(path, clip, kind,
                       notes={"prompt": {"1": {"class_type": "ä"}}, "workflow": "{}"}) as writer:
        writer.write(Fraction(0), torch.zeros(16, 16, 4 if video.FORMATS[kind].alpha else 3))
    with av.open(str(path)) as container:
        found = {name.lower(): value for name, value in container.metadata.items()}
    assert found["workflow"] == "{}" and "class_type" in found["prompt"]


def test_a_folder_of_pictures(tmp_path):
    clip = video.TensorClip(torch.rand(3, 5, 7, 3), Fraction(25))
    with video.writing(tmp_path / "out", clip, "png") as writer:
        for i, (time, picture) in enumerate(clip):
            writer.write(time, torch.cat([picture, torch.full_like(picture[..., :1], i / 2)], -1))
    assert sorted(file.name
                  for file in (tmp_path / "out").iterdir()) == ["00001.png", "00002.png", "00003.png"]
    with Image.open(tmp_path / "out" / "00002.png") as picture:
        pixels = np.asarray(picture) / 255
    np.testing.assert_allclose(pixels[..., :3], clip.images[1], atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(pixels[..., 3], 0.5, atol=0.5 / 255 + 1e-6)


class Interrupt(BaseException):
    """What newer hosts raise."""


@pytest.mark.parametrize("kind", [*video.FORMATS, "png"])
@pytest.mark.parametrize("after", [0, 5])
def test_an_interrupt_leaves_nothing(tmp_path, kind, after):
    source = write(tmp_path / "in.mp4", pictures(10), sound="aac", seconds=0.4)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(Interrupt), video.VideoClip(source) as clip, video.writing(folder / "result", clip,
                                                                             kind) as writer:
        for i, (time, picture) in enumerate(clip):
            if i == after:
                raise Interrupt
            writer.write(time, torch.cat([picture, picture[..., :1]], -1) if kind != "h264" else picture)
    assert list(folder.iterdir()) == []


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    clip = video.TensorClip(torch.zeros(1, 16, 16, 3), Fraction(25))
    (tmp_path / "file").write_text("")
    with pytest.raises(video.VideoError, match="file/out.mp4: cannot be written") as raised:
        with video.writing(tmp_path / "file" / "out.mp4", clip, "h264"):
            pass
    assert "\n" not in str(raised.value)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    clip = video.TensorClip(torch.zeros(1, 16, 16, 3), Fraction(25))

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("birefnet.video.write.VideoFile.finish", full)
    with pytest.raises(video.VideoError, match="No space left"):
        with video.writing(tmp_path / "out.mp4", clip, "h264") as writer:
            writer.write(Fraction(0), clip.images[0])
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_are_made(tmp_path):
    clip = video.TensorClip(torch.zeros(1, 16, 16, 3), Fraction(25))
    with video.writing(tmp_path / "a" / "b" / "out.mp4", clip, "h264") as writer:
        writer.write(Fraction(0), clip.images[0])
    assert len(frames(tmp_path / "a" / "b" / "out.mp4")) == 1


def test_smaller_qualities_are_smaller(tmp_path, kind):
    noise = torch.rand(8, 64, 64, 4, generator=torch.Generator().manual_seed(0))
    clip = video.TensorClip(noise[..., :3], Fraction(25))
    sizes = []
    for quality in video.QUALITIES:
        with video.writing(named(tmp_path, kind, quality), clip, kind, quality=quality) as writer:
            for i in range(8):
                writer.write(Fraction(i, 25), noise[i] if video.FORMATS[kind].alpha else noise[i, ..., :3])
        sizes.append(named(tmp_path, kind, quality).stat().st_size)
    assert sizes == sorted(sizes, reverse=True) and sizes[2] < sizes[0]
