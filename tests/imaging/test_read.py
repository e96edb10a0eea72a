"""`birefnet.imaging.pictures.read` on real files of every kind."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from birefnet.imaging import pictures

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(scale: int = 16) -> Image.Image:
    """Red and green above blue and white, wider than high."""
    small = Image.new("RGB", (2, 2))
    small.putdata([RED, GREEN, BLUE, WHITE])
    return small.resize((3 * scale, 2 * scale), Image.Resampling.NEAREST)


def corners(image: torch.Tensor) -> list[tuple[int, ...]]:
    """The colours a few pixels inside the corners, 0..255, row by row."""
    levels = (image[0] * 255).round().int()
    return [tuple(levels[y, x].tolist()) for y in (3, -4) for x in (3, -4)]


def close(found: torch.Tensor, colour: tuple[int, ...], levels: float) -> bool:
    """Whether every pixel of [1, H, W, C] is `colour` (0..255) within `levels`."""
    return bool(((found - torch.tensor(colour) / 255).abs() <= levels / 255 + 1e-6).all())


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path, orientation, suffix):
    """The file holds the scene as the camera of that orientation would store it; what is read is the
    scene."""
    stored = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]
    scene = quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = scene if stored is None else scene.transpose(stored)
    turned.save(tmp_path / f"a{suffix}", exif=exif, quality=100)

    image = pictures.read(tmp_path / f"a{suffix}")

    assert image.shape == (1, 32, 48, 3)
    assert all(max(abs(a - b) for a, b in zip(*pair)) <= 8
               for pair in zip(corners(image), [RED, GREEN, BLUE, WHITE]))


def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    quarters().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff garbage")
    assert pictures.read(tmp_path / "a.jpg").shape == (1, 32, 48, 3)


def test_values_are_exactly_the_files_levels(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    Image.fromarray(levels).save(tmp_path / "a.png")
    image = pictures.read(tmp_path / "a.png")
    assert image.dtype == torch.float32
    assert torch.equal(image[0], torch.from_numpy(levels) / 255)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_colour_profile_is_applied(tmp_path, swapped_profile, suffix):
    Image.new("RGB", (8, 8), RED).save(tmp_path / f"a{suffix}", icc_profile=swapped_profile)
    assert close(pictures.read(tmp_path / f"a{suffix}"), BLUE, levels=3)


def test_a_profile_leaves_alpha_alone(tmp_path, swapped_profile):
    Image.new("RGBA", (8, 8), (255, 0, 0, 100)).save(tmp_path / "a.png", icc_profile=swapped_profile)
    assert close(pictures.read(tmp_path / "a.png"), (0, 0, 255, 100), levels=1)


def test_a_colour_profile_on_a_palette(tmp_path, swapped_profile):
    Image.new("RGB", (8, 8), RED).quantize(2).save(tmp_path / "a.png", icc_profile=swapped_profile)
    assert close(pictures.read(tmp_path / "a.png"), BLUE, levels=1)


def test_a_colour_profile_on_grey(tmp_path, swapped_profile):
    Image.new("L", (8, 8), 200).save(tmp_path / "a.png", icc_profile=swapped_profile)
    assert close(pictures.read(tmp_path / "a.png"), (200, 200, 200), levels=1)


def test_the_srgb_profile_changes_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise).save(tmp_path / "a.png", icc_profile=profile)
    assert (pictures.read(tmp_path / "a.png")[0] * 255 - torch.from_numpy(noise)).abs().max() <= 1.01


@pytest.mark.parametrize("mode, colour", [("L", 128), ("LA", (128, 60))])
def test_a_grey_profile_is_applied(tmp_path, linear_grey_profile, mode, colour):
    Image.new(mode, (8, 8), colour).save(tmp_path / "a.png", icc_profile=linear_grey_profile)
    assert close(pictures.read(tmp_path / "a.png"), (188, 188, 188, 60)[: 3 + (mode == "LA")], levels=1)


def test_an_ink_profile_is_applied(tmp_path, green_ink_profile):
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.tif", icc_profile=green_ink_profile)
    assert close(pictures.read(tmp_path / "a.tif"), (0, 255, 0), levels=25)


@pytest.mark.parametrize("mode, colour", [("RGB", (200, 50, 10)), ("CMYK", (55, 205, 245, 0))])
def test_a_profile_for_another_kind_of_colour_counts_as_none(tmp_path, linear_grey_profile, mode, colour):
    Image.new(mode, (8, 8), colour).save(tmp_path / "a.tif", icc_profile=linear_grey_profile)
    assert close(pictures.read(tmp_path / "a.tif"), (200, 50, 10), levels=0)


def test_a_damaged_profile_counts_as_none(tmp_path):
    Image.new("RGB", (8, 8), (200, 50, 10)).save(tmp_path / "a.png", icc_profile=b"not a profile")
    assert close(pictures.read(tmp_path / "a.png"), (200, 50, 10), levels=0)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_inks_without_a_profile(tmp_path, suffix):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / f"a{suffix}", quality=100)
    assert close(pictures.read(tmp_path / f"a{suffix}"), RED, levels=3)


def test_lab(tmp_path):
    red = Image.new("RGB", (8, 8), (200, 50, 10))
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    ImageCms.profileToProfile(red, srgb, lab, outputMode="LAB").save(tmp_path / "a.tif")
    assert close(pictures.read(tmp_path / "a.tif"), (200, 50, 10), levels=4)


RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bit_grey_keeps_its_scale(tmp_path, suffix):
    Image.fromarray(RAMP.astype(np.int32) if suffix == ".pgm" else RAMP).save(tmp_path / f"a{suffix}")
    image = pictures.read(tmp_path / f"a{suffix}")
    assert image.shape == (1, 8, 8, 3)
    assert (image[0, ..., 0] - torch.from_numpy(RAMP / 65535)).abs().max() <= 0.501 / 255


def test_sixteen_bit_grey_with_a_transparent_level(tmp_path, png16):
    png16(tmp_path / "a.png", RAMP[..., None], transparent=int(RAMP[3, 5]))
    image = pictures.read(tmp_path / "a.png")
    assert image.shape == (1, 8, 8, 4)
    assert image[0, 3, 5, 3] == 0 and image[..., 3].sum() == 63
    assert (image[0, ..., 0] - torch.from_numpy(RAMP / 65535)).abs().max() <= 0.501 / 255


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bit_png_colour_and_alpha(tmp_path, png16, channels):
    samples = np.stack([RAMP, RAMP.T, RAMP[::-1], RAMP[:, ::-1]][:channels], -1)
    png16(tmp_path / "a.png", samples)
    found = pictures.read(tmp_path / "a.png")[0, ..., [0, 3] if channels == 2 else slice(None)]
    assert (found - torch.from_numpy(samples / 65535)).abs().max() < 1 / 255


def write_tiff(path, samples: np.ndarray, photometric: int = 1, planar: bool = False) -> None:
    """An uncompressed little-endian TIFF 6.0 of one strip (or one per plane), with whatever samples numpy
    has."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    planes = np.moveaxis(samples, -1, 0) if planar else samples[None]
    data = np.ascontiguousarray(planes).tobytes()
    strip, after = len(data) // len(planes), 8 + len(data)
    lists, entries = b"", []

    def entry(tag: int, kind: int, values: list[int]) -> None:
        nonlocal lists
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            lists, packed = lists + packed, struct.pack("<I", after + len(lists))
        entries.append(struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))

    entry(256, 4, [width])
    entry(257, 4, [height])
    entry(258, 3, [samples.dtype.itemsize * 8] * channels)
    entry(259, 3, [1])
    entry(262, 3, [photometric])
    entry(273, 4, [8 + i * strip for i in range(len(planes))])
    entry(277, 3, [channels])
    entry(278, 4, [height])
    entry(279, 4, [strip] * len(planes))
    entry(284, 3, [2 if planar else 1])
    entry(339, 3, [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * channels)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", after + len(lists)) + data + lists + directory)


def test_sixteen_bit_tiff_colour(tmp_path):
    samples = np.stack([RAMP, RAMP.T, RAMP[::-1]], -1)
    write_tiff(tmp_path / "a.tif", samples, photometric=2)
    assert (pictures.read(tmp_path / "a.tif")[0] - torch.from_numpy(samples / 65535)).abs().max() < 1 / 255


COLOURS = np.stack([RAMP, RAMP.T, RAMP[::-1]], -1)


@pytest.mark.parametrize("samples", [COLOURS, (COLOURS / 65535).astype(np.float32),
                                     (COLOURS / 65535).astype(np.float16)])
@pytest.mark.parametrize("planar", [False, True])
def test_deep_tiff_colours_in_any_order(tmp_path, samples, planar):
    """16-bit planes and floats, which Pillow garbles or does not know."""
    write_tiff(tmp_path / "a.tif", samples, photometric=2, planar=planar)
    assert (pictures.read(tmp_path / "a.tif")[0] - torch.from_numpy(COLOURS / 65535)).abs().max() < 1 / 255


def test_a_float_tiff_in_colours_of_another_scale_is_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", np.full((4, 4, 3), 200, dtype=np.float32), photometric=2)
    with pytest.raises(pictures.PictureError, match="floats in 0..1, got values up to 200"):
        pictures.read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [10, 12])
def test_ten_and_twelve_bits_in_sixteen_are_not_black(tmp_path, suffix, bits):
    values = RAMP >> (16 - bits)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    found = pictures.read(tmp_path / f"a{suffix}")[0, ..., 0]
    assert (found - torch.from_numpy(values / (2**bits - 1))).abs().max() <= 0.501 / 255


def test_a_dark_frame_of_sixteen_bits_stays_dark(tmp_path):
    Image.fromarray(RAMP // 300).save(tmp_path / "a.png")
    assert pictures.read(tmp_path / "a.png").max() < 1.5 / 255


@pytest.mark.parametrize("samples, photometric", [
    (RAMP, 0),
    (RAMP.astype(np.uint32) * 65537, 1),
    ((RAMP / 65535).astype(np.float32), 1),
])
def test_deep_grey_tiff(tmp_path, samples, photometric):
    """White-is-zero 16 bit, 32-bit integers, floats."""
    write_tiff(tmp_path / "a.tif", samples, photometric)
    expected = torch.from_numpy(RAMP / 65535)
    found = pictures.read(tmp_path / "a.tif")[0, ..., 0]
    assert (found - (1 - expected if photometric == 0 else expected)).abs().max() <= 0.501 / 255


def test_float_tiff_with_holes_and_highlights(tmp_path):
    write_tiff(tmp_path / "a.tif", np.array([[np.nan, 7.0], [0.5, -1.0]], dtype=np.float32))
    assert pictures.read(tmp_path / "a.tif")[0, ...,
                                             0].flatten().tolist() == pytest.approx([0, 1, 128 / 255, 0])


def test_float_tiff_of_another_scale_is_refused_not_blown_out(tmp_path):
    write_tiff(tmp_path / "a.tif", np.full((4, 4), 200, dtype=np.float32))
    with pytest.raises(pictures.PictureError, match="floats in 0..1, got values up to 200"):
        pictures.read(tmp_path / "a.tif")


def test_one_bit(tmp_path):
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "a.png")
    assert torch.equal(pictures.read(tmp_path / "a.png")[0, ..., 1], torch.eye(8))


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 50, 10])
    image.paste(0, (0, 0, 4, 8))
    image.save(tmp_path / "a.png", transparency=0)
    found = pictures.read(tmp_path / "a.png")
    assert close(found[:, :, :4, 3:], (0,), levels=0) and close(found[:, :, 4:], (200, 50, 10, 255), levels=0)


def test_grey_with_alpha(tmp_path):
    Image.new("LA", (8, 8), (120, 60)).save(tmp_path / "a.png")
    assert close(pictures.read(tmp_path / "a.png"), (120, 120, 120, 60), levels=0)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_the_first_of_many_frames(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    assert close(pictures.read(tmp_path / f"a{suffix}")[..., :3], RED, levels=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (257, 1)])
def test_thin_pictures(tmp_path, size):
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    assert pictures.read(tmp_path / "a.png").shape == (1, size[1], size[0], 3)


def test_cover_crops_about_the_centre(tmp_path):
    """Quarters 48×32 scaled to cover 16×64: 64 wide, so 43 high, cut to the middle 16 rows."""
    quarters().save(tmp_path / "a.png")
    found = pictures.read_to_cover(tmp_path / "a.png", 16, 64)
    assert found.shape == (1, 16, 64, 3)
    assert corners(found) == [RED, GREEN, BLUE, WHITE]


# What cannot be read ----------------------------------------------------------------------------------------


def refusal(path) -> str:
    """The message for a file that cannot be read: one line that names it."""
    with pytest.raises(pictures.PictureError) as caught:
        pictures.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif", ".bmp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    Image.fromarray(noise).save(whole)
    part.write_bytes(whole.read_bytes()[: max(1, int(whole.stat().st_size * share))])
    assert pictures.read(whole).shape == (1, 64, 64, 3)
    assert "damaged" in refusal(part)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif"])
def test_garbled_files_never_crash(tmp_path, suffix):
    """Bytes overwritten at random: a picture or a `PictureError`, nothing else."""
    draw = random.Random(0)
    quarters().save(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(12):
            data[draw.randrange(len(data))] = draw.randrange(256)
        (tmp_path / f"a{suffix}").write_bytes(data)
        try:
            assert pictures.read(tmp_path / f"a{suffix}").shape[0] == 1
        except pictures.PictureError:
            refused += 1
    assert refused > 0


def test_an_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert "the file is empty" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("data", [b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
                                  bytes(999)])
def test_not_a_picture(tmp_path, data):
    """PostScript too: Pillow would hand it to Ghostscript."""
    (tmp_path / "a.jpg").write_bytes(data)
    assert "expected a picture" in refusal(tmp_path / "a.jpg")


def test_no_file(tmp_path):
    assert "there is no such file" in refusal(tmp_path / "a.jpg")


def test_a_folder(tmp_path):
    assert "got a folder" in refusal(tmp_path)


def test_a_decompression_bomb(tmp_path):
    """A PNG header that promises 40000 × 40000 pixels."""
    Image.new("1", (8, 8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    head = b"IHDR" + struct.pack(">II", 40000, 40000) + data[24:29]
    (tmp_path / "a.png").write_bytes(data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:])
    assert "megapixels" in refusal(tmp_path / "a.png")


def test_suffixes_are_those_of_photographs():
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"} <= pictures.suffixes()
    assert not {".eps", ".pdf", ".txt", ".safetensors"} & pictures.suffixes()
