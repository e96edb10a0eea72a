"""Samples to colours: the numbers of the standards, and colour bars through files there and back."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from clips import frames, planes, write

from birefnet import video
from birefnet.video.colour import BT601, BT709, Colour, from_rgb, to_rgb

RED, GREEN, BLUE, WHITE, BLACK = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0)

# Y, Cb, Cr of 100 % colours in 8 bits, by the formulas of BT.601-7 and BT.709-6 (limited), and JFIF (601,
# full).
CODES = {
    (BT601, False): {RED: (81, 90, 240), GREEN: (145, 54, 34), BLUE: (41, 240, 110), WHITE: (235, 128, 128),
                     BLACK: (16, 128, 128)},
    (BT709, False): {RED: (63, 102, 240), GREEN: (173, 42, 26), BLUE: (32, 240, 118), WHITE: (235, 128, 128),
                     BLACK: (16, 128, 128)},
    (BT601, True): {RED: (76, 85, 255), GREEN: (150, 44, 21), BLUE: (29, 255, 107), WHITE: (255, 128, 128),
                    BLACK: (0, 128, 128)},
    (BT709, True): {RED: (54, 99, 255), GREEN: (182, 30, 12), BLUE: (18, 255, 116), WHITE: (255, 128, 128),
                    BLACK: (0, 128, 128)},
}
kinds_of_colour = pytest.mark.parametrize(("matrix", "full"), CODES)


@kinds_of_colour
def test_the_codes_of_pure_colours_are_the_standards(matrix, full):
    colour = Colour(matrix, full=full)
    for rgb, codes in CODES[matrix, full].items():
        picture = torch.tensor(rgb, dtype=torch.float32).expand(4, 4, 3)
        made = from_rgb(picture, 8, colour, halved=True)
        assert [plane.shape for plane in made] == [(4, 4), (2, 2), (2, 2)]
        assert [int(plane[0, 0]) for plane in made] == list(codes)
        torch.testing.assert_close(to_rgb(made, 8, colour), picture, atol=0.006, rtol=0)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_there_and_back_is_exact_to_the_code(bits, full):
    picture = torch.rand(9, 7, 4, generator=torch.Generator().manual_seed(0))
    colour = Colour(full=full)
    again = to_rgb(from_rgb(picture, bits, colour, halved=False), bits, colour)
    assert (again - picture).abs().max() < 2.0 / (1 << bits)


def test_halved_chroma_lies_where_h264_puts_it():
    """A straight ramp of colour, sampled on the left and between rows, is found again between the samples."""
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    picture = torch.stack([0.4 + 0.01 * x + 0.008 * y, torch.full_like(x, 0.5), 0.6 - 0.012 * x + 0.01 * y],
                          -1)
    colour = Colour(full=True)
    again = to_rgb(from_rgb(picture, 10, colour, halved=True), 10, colour)
    torch.testing.assert_close(again[1:-1, 1:-2], picture[1:-1, 1:-2], atol=3e-3, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 1), (5, 7)])
def test_odd_sizes_keep_their_last_row_and_column(size):
    made = from_rgb(torch.full((*size, 3), 0.5), 8, Colour(), halved=True)
    assert made[1].shape == (-(-size[0] // 2), -(-size[1] // 2))
    assert to_rgb(made, 8, Colour()).shape == (*size, 3)


def test_untagged_video_is_taken_as_players_take_it():
    assert Colour(2).resolve(576).matrix == BT601
    assert Colour(2).resolve(720).matrix == BT709
    assert Colour(9).resolve(480).matrix == 9  # tagged: BT.2020
    assert Colour(14).resolve(480).matrix == BT709  # tagged with one that is not known here


def bars(matrix: int, full: bool) -> av.VideoFrame:
    """Five bars of pure colours, 16 pixels each, in codes: no other program's conversion has touched them."""
    frame = av.VideoFrame(80, 32, "yuv420p")
    luma, *chroma = planes(frame)
    for i, codes in enumerate(CODES[matrix, full].values()):
        luma[:, 16 * i:16 * i + 16] = codes[0]
        for plane, code in zip(chroma, codes[1:]):
            plane[:, 8 * i:8 * i + 8] = code
    return frame


@kinds_of_colour
def test_colour_bars_through_files(tmp_path, kind, matrix, full):
    tags = {"colorspace": matrix, "color_range": 2 if full else 1, "color_primaries": matrix,
            "color_trc": matrix}
    source = write(tmp_path / "bars.mp4", [bars(matrix, full)] * 3, tags=tags, options={"crf": "1"})
    shape = video.FORMATS[kind]
    path = tmp_path / f"out{shape.suffix}"
    with video.VideoClip(source) as clip, video.writing(path, clip, kind) as writer:
        assert (clip.colour.matrix, clip.colour.full, clip.colour.primaries) == (matrix, full, matrix)
        for time, picture in clip:
            for i, rgb in enumerate(CODES[matrix, full]):
                seen = picture[8:24, 16 * i + 5:16 * i + 11].mean((0, 1))
                torch.testing.assert_close(seen, torch.tensor(rgb, dtype=torch.float32), atol=0.012, rtol=0)
            alpha = torch.ones_like(picture[..., :1])
            writer.write(time, torch.cat([picture, alpha], -1) if shape.alpha else picture)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        frame = next(container.decode(video=0))
        assert int(frame.colorspace) == matrix
        if kind != "vp9":  # whose stream has no place for them
            assert (int(context.color_primaries), int(context.color_trc)) == (matrix, matrix)
        if kind == "prores":
            return  # always limited, with 12 bits when decoded: its colours are compared below
        assert int(frame.color_range) == (2 if full else 1)
        for i, codes in enumerate(CODES[matrix, full].values()):
            columns = 8 * i + 3, 8 * i + 5
            found = [plane[8:12, slice(*columns)].mean() for plane in planes(frame)[1:3]]
            assert np.abs(np.array(found) - codes[1:3]).max() < 4
            assert abs(planes(frame)[0][8:24, 16 * i + 5:16 * i + 11].mean() - codes[0]) < 3


@kinds_of_colour
def test_colours_come_back_from_every_kind_of_file(tmp_path, kind, matrix, full):
    shape = video.FORMATS[kind]
    picture = torch.tensor([0.8, 0.3, 0.1]).expand(32, 48, 3)
    if shape.alpha:
        picture = torch.cat([picture, torch.full_like(picture[..., :1], 0.7)], -1)
    clip = video.TensorClip(picture[None, ..., :3], Fraction(25))
    clip.colour = Colour(matrix, full=full)
    path = tmp_path / f"flat{shape.suffix}"
    with video.writing(path, clip, kind) as writer:
        writer.write(Fraction(0), picture)
    with video.VideoClip(path) as again:
        (_, seen), = again
    torch.testing.assert_close(seen, picture, atol=0.015, rtol=0)


def test_ten_bits_are_not_rounded_to_eight(tmp_path):
    frame = av.VideoFrame(32, 32, "yuv420p10le")
    for plane, code in zip(planes(frame), (501, 512, 512)):
        plane[:] = code
    path = write(tmp_path / "deep.mkv", [frame], pixels="yuv420p10le", codec="ffv1")
    with video.VideoClip(path) as clip:
        (_, picture), = clip
    torch.testing.assert_close(picture[16, 16], torch.full((3,), (501 - 64) / 876), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("pixels", "codec", "suffix"), [
    ("rgb24", "png", ".mov"), ("gray", "ffv1", ".mkv"), ("yuv444p", "ffv1", ".mkv"),
    ("yuv411p", "ffv1", ".mkv"),
    ("gray", "gif", ".gif"), ("yuyv422", "rawvideo", ".nut"), ("nv12", "rawvideo", ".nut"),
    ("gbrp", "libvpx-vp9", ".mkv"), ("rgba", "png", ".mov"), ("bgr0", "ffv1", ".mkv"),
    ("yuvj420p", "mjpeg", ".avi")])
def test_every_usual_sample_format_gives_the_same_grey(tmp_path, pixels, codec, suffix):
    grey = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 160, np.uint8),
                                      format="rgb24").reformat(format=pixels)
    path = write(tmp_path / f"grey{suffix}", [grey], pixels=pixels, codec=codec)
    with video.VideoClip(path) as clip:
        pictures = [picture for _, picture in clip]
    assert pictures[0].shape[:2] == (32, 32)
    torch.testing.assert_close(pictures[0][..., :3], torch.full((32, 32, 3), 160 / 255), atol=0.012, rtol=0)


def test_a_frame_says_what_it_means(tmp_path):
    """The oracle reads the result by its tags alone."""
    clip = video.TensorClip(torch.tensor([0.2, 0.6, 0.9]).expand(1, 32, 32, 3), Fraction(25))
    with video.writing(tmp_path / "flat.mp4", clip, "h264") as writer:
        writer.write(Fraction(0), clip.images[0])
    seen = frames(tmp_path / "flat.mp4")[0].to_ndarray(format="rgb24", src_colorspace="ITU709")[16, 16] / 255
    np.testing.assert_allclose(seen, [0.2, 0.6, 0.9], atol=0.012)
