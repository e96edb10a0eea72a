"""Deep pictures and what a result keeps of its photograph: depth, profile, resolution, EXIF."""

from __future__ import annotations

import numpy as np
import OpenEXR
import pytest
import tifffile
import torch
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from birefnet.imaging import deep, photographs, pictures

RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
COLOURS = np.stack([RAMP, RAMP.T, RAMP[::-1], RAMP[:, ::-1]], -1)
LIGHT = (np.arange(8 * 8 * 3).reshape(8, 8, 3) / 50).astype(np.float16)  # up to 3.8


def write_exr(path, channels: dict[str, np.ndarray], **header) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    with OpenEXR.File(header,
                      {name: np.ascontiguousarray(plane) for name, plane in channels.items()}) as file:
        file.write(str(path))


def stored_exr(path) -> tuple[dict, dict[str, np.ndarray]]:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return dict(file.header()), {name: channel.pixels.copy() for name, channel in file.channels().items()}


def planes(samples: np.ndarray, names: str = "RGBA") -> dict[str, np.ndarray]:
    return dict(zip(names, np.moveaxis(samples, -1, 0)))


def store(path, picture, photograph, **style) -> None:
    path.write_bytes(photographs.encode(path, picture, photograph, photographs.Style(**style)))


@pytest.mark.parametrize("depth", ["half", "float"])
def test_an_exr_comes_back_bit_for_bit(tmp_path, depth):
    light = LIGHT if depth == "half" else LIGHT.astype(np.float32) * np.float32(1.0001)
    write_exr(tmp_path / "a.exr", planes(light), owner="a shop", pixelAspectRatio=2.0)
    photograph = photographs.read(tmp_path / "a.exr", name="b.exr")
    assert photograph.linear and photograph.depth == depth and photograph.native.max() > 3
    store(tmp_path / "b.exr", photographs.colours_for("b.exr", photograph, photographs.DEFAULT_STYLE),
          photograph)
    header, channels = stored_exr(tmp_path / "b.exr")
    assert all(np.array_equal(channels[name], plane) and channels[name].dtype == light.dtype
               for name, plane in planes(light).items())
    assert header["owner"] == "a shop" and header["pixelAspectRatio"] == 2


def test_the_network_sees_linear_light_as_srgb(tmp_path):
    write_exr(tmp_path / "a.exr", planes(np.full((4, 4, 3), 0.18, np.float32)))
    photograph = photographs.read(tmp_path / "a.exr")
    expected = pytest.approx(0.4614, abs=0.5 / 255)  # 18 % grey, IEC 61966-2-1
    assert photograph.srgb.mean() == expected and pictures.read(tmp_path / "a.exr").mean() == expected


def test_linear_changes_only_what_is_seen(tmp_path, png16):
    png16(tmp_path / "a.png", COLOURS[..., :3])
    style = photographs.Style(depth="16", linear=True)
    photograph = photographs.read(tmp_path / "a.png", style=style, name="b.png")
    plain = photographs.read(tmp_path / "a.png", style=photographs.Style(depth="16"), name="b.png")
    assert torch.equal(photograph.native, plain.native) and (photograph.srgb - plain.srgb).max() > 0.2
    store(tmp_path / "b.png", photographs.colours_for("b.png", photograph, style), photograph, depth="16",
          linear=True)
    assert np.array_equal(deep.read("b.png", (tmp_path / "b.png").read_bytes()).values, COLOURS[..., :3])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_come_back_level_by_level(tmp_path, png16, suffix, channels, swapped_profile):
    samples = COLOURS[..., :channels]
    png16(tmp_path / "a.png", samples)
    style = photographs.Style(depth="16")
    photograph = photographs.read(tmp_path / "a.png", style=style, name="b.png")
    photograph.icc, photograph.dpi = swapped_profile, (300, 300)
    store(tmp_path / f"b{suffix}", photograph.native, photograph, depth="16")
    found = deep.read("b", (tmp_path / f"b{suffix}").read_bytes())
    assert found.values.dtype == np.uint16 and np.array_equal(found.values, samples)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.info["icc_profile"] == swapped_profile
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_samples_are_turned_as_pillow_turns(tmp_path, orientation):
    tifffile.imwrite(tmp_path / "a.tif", COLOURS[:6, :, :3], photometric="rgb", metadata=None,
                     extratags=[(274, 3, 1, orientation, True)])
    shallow = pictures.read(tmp_path / "a.tif")
    own = photographs.read(tmp_path / "a.tif", style=photographs.Style(depth="16"), name="b.tif").native
    assert own.shape == shallow.shape and (own - shallow).abs().max() < 1 / 255
    values = (COLOURS[:6, :, :3] / 65535).astype(np.float32)  # Pillow does not read these
    tifffile.imwrite(tmp_path / "b.tif", values, photometric="rgb", metadata=None,
                     extratags=[(274, 3, 1, orientation, True)])
    assert (pictures.read(tmp_path / "b.tif") - own).abs().max() < 1 / 255


@pytest.mark.parametrize("premultiplied", [False, True])
@pytest.mark.parametrize("suffix", [".exr", ".tif"])
def test_premultiplied_or_straight_is_said_in_the_file(tmp_path, suffix, premultiplied):
    picture = torch.tensor([[[[0.5, 0.25, 1.0, 0.5], [1.0, 0.5, 0.0, 1.0]]]])
    path, depth = tmp_path / f"a{suffix}", "half" if suffix == ".exr" else "16"
    store(path, picture, photographs.Photograph(picture, picture), depth=depth, premultiplied=premultiplied)
    if suffix == ".exr":
        header, channels = stored_exr(path)
        assert header["alphaType"] == ("premultiplied" if premultiplied else "straight")
        assert channels["R"][0].tolist() == ([0.25, 1] if premultiplied else [0.5, 1])
    else:
        with tifffile.TiffFile(path) as file:
            assert int(file.pages[0].extrasamples[0]) == (1 if premultiplied else 2)
            assert file.pages[0].asarray()[0, 0, 0] == pytest.approx(65535 * (0.25 if premultiplied else 0.5),
                                                                     abs=1)
    again = photographs.read(path, style=photographs.Style(depth=depth), name=path)
    assert (again.native - picture).abs().max() < 1e-4


def test_exr_without_a_word_of_it_is_premultiplied(tmp_path):
    write_exr(tmp_path / "a.exr", planes(np.full((2, 2, 4), 0.25, np.float16)))
    assert torch.equal(photographs.read(tmp_path / "a.exr").native[0, 0, 0], torch.tensor([1, 1, 1, 0.25]))


def test_a_matte_is_a_single_channel(tmp_path):
    matte = torch.linspace(0, 1, 64).view(1, 8, 8, 1)
    store(tmp_path / "a.exr", matte, photographs.Photograph(matte, matte), depth="float")
    _, channels = stored_exr(tmp_path / "a.exr")
    assert list(channels) == ["Y"] and np.array_equal(channels["Y"], matte[0, ..., 0].numpy())


def test_layers_and_windows_of_an_exr(tmp_path):
    layers = {f"{layer}.{name}": plane for layer in ("beauty", "depth")
              for name, plane in planes(LIGHT * (layer == "beauty")).items()}
    window = (np.array([-2, 3], np.int32), np.array([5, 10], np.int32))
    shown = (np.array([0, 0], np.int32), np.array([99, 49], np.int32))
    write_exr(tmp_path / "a.exr", layers, dataWindow=window, displayWindow=shown)
    photograph = photographs.read(tmp_path / "a.exr")
    assert np.array_equal(photograph.native[0].numpy().astype(np.float16), LIGHT)
    store(tmp_path / "b.exr", photograph.native, photograph)
    header, _ = stored_exr(tmp_path / "b.exr")
    assert np.array_equal(header["dataWindow"], window) and np.array_equal(header["displayWindow"], shown)


@pytest.mark.parametrize(("make", "words"), [
    (lambda path: write_exr(path, {"Z": LIGHT[..., 0]}), "expected channels R, G, B or Y"),
    (lambda path: path.write_bytes(deep.EXR_SIGNATURE + b"\2\0\0\0nothing"), "damaged")])
def test_an_exr_that_is_not_read_is_one_sentence(tmp_path, make, words):
    make(tmp_path / "a.exr")
    with pytest.raises(pictures.PictureError, match=words):
        photographs.read(tmp_path / "a.exr")


@pytest.mark.parametrize(("name", "style", "words"), [
    ("a.png", {"depth": "half"}, "take depth 8 or 16"),
    ("a.exr", {"depth": "16"}, "take depth half or float"),
    ("a.webp", {"depth": "16"}, "another format"), ("a.png", {"premultiplied": True}, "use .tif or .exr")])
def test_what_a_format_does_not_hold(name, style, words):
    with pytest.raises(pictures.PictureError, match=words):
        photographs.Style(**style).check(name, alpha=True)


@pytest.mark.parametrize(("suffix", "depth"), [
    (".png", ""), (".webp", ""), (".tif", ""), (".jpg", ""), (".png", "16"), (".tif", "16"),
    (".tif", "float")])
def test_profile_resolution_and_exif_survive_without_the_place(tmp_path, swapped_profile, suffix, depth):
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Orientation], exif[Base.Copyright] = "Maker", 6, "me"
    exif.get_ifd(IFD.Exif).update({Base.FNumber: 2.8, Base.BodySerialNumber: "secret",
                                   Base.MakerNote: b"secret"})
    exif.get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] = "N"
    levels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif, icc_profile=swapped_profile, dpi=(300, 300))
    style = photographs.Style(exif=True)
    photograph = photographs.read(tmp_path / "a.png", style=style, name=f"b{suffix}")
    assert not torch.equal(photograph.srgb, photograph.native)  # the profile exchanges red and blue
    store(tmp_path / f"b{suffix}", photograph.native, photograph, exif=True, depth=depth)
    if depth == "float":  # which Pillow does not read
        with tifffile.TiffFile(tmp_path / "b.tif") as file:
            tags = {tag.name: tag.value for tag in file.pages[0].tags}
        assert (tags["Make"], tags["Copyright"]) == ("Maker", "me") and "Software" not in tags
        return
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.info["icc_profile"] == swapped_profile
        if suffix != ".webp":  # which knows no resolution
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        if suffix != ".jpg" and not depth:
            assert np.array_equal(np.array(image), np.rot90(levels, -1))
        kept = image.getexif()
        assert kept[Base.Make] == "Maker" and kept[Base.Copyright] == "me"
        assert kept.get(Base.Orientation, 1) == 1
        assert not kept.get_ifd(IFD.GPSInfo)
        if suffix != ".tif":
            assert kept.get_ifd(IFD.Exif)[Base.FNumber] == pytest.approx(2.8)
    assert b"secret" not in (tmp_path / f"b{suffix}").read_bytes()


def test_without_the_option_no_exif_is_kept(tmp_path):
    exif = Image.Exif()
    exif[Base.Make] = "Maker"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", exif=exif)
    photograph = photographs.read(tmp_path / "a.jpg")
    assert photograph.exif is None
    assert b"Maker" not in photographs.encode("b.png", photograph.native, photograph,
                                              photographs.DEFAULT_STYLE)


@pytest.mark.parametrize("module", ["OpenEXR", "imagecodecs", "tifffile"])
def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch, png16, module):
    name = {"OpenEXR": "a.exr", "imagecodecs": "a.png", "tifffile": "a.tif"}[module]
    if module == "OpenEXR":
        write_exr(tmp_path / name, planes(LIGHT))
    elif module == "imagecodecs":
        png16(tmp_path / name, COLOURS)
    else:
        tifffile.imwrite(tmp_path / name, COLOURS, photometric="rgb", extrasamples=["unassalpha"])
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(pictures.PictureError, match=f"pip install .*{module}"):
        photographs.read(tmp_path / name, style=photographs.Style(depth="16"), name="b.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.jpg")
    assert photographs.read(tmp_path / "b.jpg").srgb.shape == (1, 4, 4, 3)
