"""`python -m birefnet cut`: what is written, and what is said when it cannot be."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import s3fs
import torch
from PIL import Image

import birefnet
from birefnet import masks
from birefnet.__main__ import main
from birefnet.cli import models
from birefnet.cli.cut import manifest, steps
from birefnet.device import dtypes
from birefnet.device.memory import FALLBACK_BUDGETS
from birefnet.imaging import photographs, pictures
from birefnet.matting import foreground
from birefnet.matting import predict as inference
from birefnet.matting.runner import Runner

ROOT = Path(__file__).parents[2]


def names(folder) -> list[str]:
    """Everything in a folder, hidden files too, but for what `cut` notes there."""
    return sorted(entry.name for entry in folder.iterdir() if entry.name != manifest.FOLDER)


def levels(path) -> torch.Tensor:
    """The file's own 8-bit samples [H, W, C] in 0..1."""
    samples = np.asarray(Image.open(path), dtype=np.float32)
    return torch.from_numpy(samples.reshape(*samples.shape[:2], -1) / 255)


@pytest.fixture
def no_keys(monkeypatch, tmp_path):
    """An environment without keys for S3."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    yield
    s3fs.S3FileSystem.clear_instance_cache()  # which have learnt that there are none


# The result -------------------------------------------------------------------------------------------------


def test_a_cutout_is_the_photograph_under_its_matte(tmp_path, cut, photo, network):
    source = photo("a.png")
    image = pictures.read(source)
    alpha = birefnet.matte(network, image)[0]
    assert alpha.std() > 0.05  # the random network finds something, or this test shows nothing

    assert cut(source, "-o", tmp_path / "b.png").status == 0

    found = levels(tmp_path / "b.png")
    assert (found[..., 3] - alpha).abs().max() <= 0.51 / 255
    seen = found[..., 3] > 0
    assert torch.equal(found[seen][:, :3], image[0][seen])
    assert not found[~seen].any()


def test_a_mask_is_the_matte_in_grey(tmp_path, cut, photo, network):
    source = photo("a.jpg")
    cut(source, "-o", tmp_path / "b.png", "--mask")
    assert Image.open(tmp_path / "b.png").mode == "L"
    expected = birefnet.matte(network, pictures.read(source))[0]
    assert (levels(tmp_path / "b.png")[..., 0] - expected).abs().max() <= 0.51 / 255


@pytest.mark.parametrize("text, size", [("96", 96), ("128x64", (64, 128)), ("64X128", (128, 64))])
def test_size_is_width_by_height(tmp_path, cut, photo, network, text, size):
    source = photo("a.png")
    cut(source, "-o", tmp_path / "b.png", "--mask", "--size", text)
    expected = birefnet.matte(network, pictures.read(source), size)[0]
    assert (levels(tmp_path / "b.png")[..., 0] - expected).abs().max() <= 0.51 / 255
    assert (expected - birefnet.matte(network, pictures.read(source))[0]).abs().max() > 2 / 255


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "auto"])
def test_the_number_format_is_chosen(tmp_path, photo, network, tiny, dtype, capsys):
    source = photo("a.png")
    main(["cut", str(source), "-o", str(tmp_path / "b.png"), "--mask", "--model", str(tiny), "--dtype",
          dtype])
    found = levels(tmp_path / "b.png")[..., 0]
    expected = birefnet.matte(network, pictures.read(source))[0]
    assert (found - expected).abs().max() < 0.03
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = dtypes.name(dtypes.best_dtype(device)) if dtype == "auto" else dtype
    assert f"on {device} in {name}: " in capsys.readouterr().err


@pytest.mark.parametrize("text, colour", [
    ("red", (1, 0, 0)), ("#2040ff", (32 / 255, 64 / 255, 1)), ("#fff", (1, 1, 1)),
    ("hsl(120,100%,50%)", (0, 1, 0)),
    ("rgb(0 255 0)", (0, 1, 0)),
])
def test_a_colour_as_background(tmp_path, cut, photo, network, text, colour):
    source = photo("a.png")
    cut(source, "-o", tmp_path / "b.png", "--background", text)
    image = pictures.read(source)[0]
    alpha = birefnet.matte(network, pictures.read(source))[0, ..., None]
    expected = image * alpha + torch.tensor(colour) * (1 - alpha)
    assert Image.open(tmp_path / "b.png").mode == "RGB"
    # Half a level for rounding, half for colours under an alpha that rounds to 0.
    assert (levels(tmp_path / "b.png") - expected).abs().max() <= 1.01 / 255


def test_clean_edges_are_the_subjects_own_colours(tmp_path, cut, photo, network):
    source = photo("a.png")
    cut(source, "-o", tmp_path / "b.png", "--clean-edges")
    image = pictures.read(source)
    alpha = birefnet.matte(network, image)
    expected = pictures.cutout(foreground.estimate(image, alpha), alpha)[0]
    assert (levels(tmp_path / "b.png") - expected).abs().max() <= 0.51 / 255
    assert (expected - pictures.cutout(image, alpha)[0]).abs().max() > 2 / 255


def test_a_translucent_background_keeps_alpha(tmp_path, cut, photo):
    cut(photo("a.png"), "-o", tmp_path / "b.png", "--background", "#ff000080")
    assert Image.open(tmp_path / "b.png").mode == "RGBA"
    assert levels(tmp_path / "b.png")[..., 3].min() >= 128 / 255


def test_a_picture_as_background(tmp_path, cut, photo, network):
    """It fills the photograph's frame; its own profile and orientation count too."""
    source, behind = photo("a.png"), photo("behind.jpg", size=(200, 300))
    cut(source, "-o", tmp_path / "b.jpg", "--background", behind)
    alpha = birefnet.matte(network, pictures.read(source))[0, ..., None]
    expected = pictures.read(source)[0] * alpha + pictures.read_to_cover(behind, 40, 60)[0] * (1 - alpha)
    assert (levels(tmp_path / "b.jpg") - expected).abs().mean() < 0.02


def test_a_photograph_stored_on_its_side_comes_out_upright(tmp_path, cut, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    cut(photo("a.jpg", size=(60, 40), exif=exif), "-o", tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").size == (40, 60)


def test_what_was_transparent_stays_so(tmp_path, cut):
    image = Image.new("RGBA", (40, 40), (200, 100, 50, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 40))
    image.save(tmp_path / "a.png")
    cut(tmp_path / "a.png", "-o", tmp_path / "b.png", "--mask")
    assert not levels(tmp_path / "b.png")[:, :20].any()


@pytest.mark.parametrize("name", ["b.webp", "b.tif", "B.PNG"])
def test_the_format_follows_the_name(tmp_path, cut, photo, name):
    assert cut(photo("a.png"), "-o", tmp_path / name).status == 0
    assert Image.open(tmp_path / name).mode == "RGBA"


# Which becomes which ----------------------------------------------------------------------------------------


def test_a_folder_gives_a_folder(tmp_path, cut, photo):
    for name in ("in/a.jpg", "in/b.PNG", "in/c.tif", "in/.hidden.png", "in/deeper/d.png"):
        photo(name)
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    result = cut(tmp_path / "in", "-o", tmp_path / "new" / "out")
    assert result.status == 0 and result.messages[-1] == f"3 of 3 written to {tmp_path / 'new' / 'out'}"
    assert names(tmp_path / "new" / "out") == ["a.png", "b.png", "c.png"]


def test_files_folders_and_globs_together(tmp_path, cut, photo):
    for name in ("a.png", "in/b.png", "x/c1.png", "x/c2.png", "x/d.png"):
        photo(name)
    cut(tmp_path / "a.png", tmp_path / "in", f"{tmp_path}/x/c?.png", "-o", tmp_path / "out")
    assert names(tmp_path / "out") == ["a.png", "b.png", "c1.png", "c2.png"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path, cut, photo):
    cut(photo("a[1].png"), "-o", tmp_path / "b.png")
    assert (tmp_path / "b.png").exists()


@pytest.mark.parametrize("out, written", [("out", "out/a.png"), ("here", "here/a.png"), ("b.png", "b.png")])
def test_one_file_into_a_folder_or_a_name(tmp_path, cut, photo, out, written):
    (tmp_path / "here").mkdir()
    assert cut(photo("a.jpg"), "-o", tmp_path / out).status == 0
    assert (tmp_path / written).is_file()


@pytest.mark.parametrize("pattern", ["in", "in/**/*.png", "in/**"])
def test_results_below_the_input_are_not_read_again(tmp_path, cut, photo, pattern, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo("in/a.png")
    for _ in range(2):
        cut(pattern, "-o", "in/out", "--force")
    assert names(tmp_path / "in") == ["a.png", "out"] and names(tmp_path / "in" / "out") == ["a.png"]


def test_a_glob_and_results_in_the_same_folder(tmp_path, cut, photo):
    photo("in/a.jpg")
    assert cut(f"{tmp_path}/in/*.jpg", "-o", tmp_path / "in").status == 0
    assert names(tmp_path / "in") == ["a.jpg", "a.png"]


def test_two_inputs_of_one_stem_never_lose_one_silently(tmp_path, cut, photo):
    first, second, third = photo("in/a.jpg"), photo("in/A.png"), photo("in/b.png")
    result = cut(first, second, third, "-o", tmp_path / "out")
    assert result.status == 0 and names(tmp_path / "out") == ["A.png.png", "a.jpg.png", "b.png"]
    photo("in/a.webp")
    # what is named keeps its name
    result = cut(first, second, tmp_path / "in" / "a.webp", "-o", tmp_path / "out")
    assert result.status == 0 and names(tmp_path / "out") == ["A.png.png", "a.jpg.png", "a.webp.png", "b.png"]
    first, second = photo("x/A.png"), photo("x/a.png")
    result = cut(first, second, "-o", tmp_path / "x")
    assert result.status == 1


def test_a_glob_keeps_the_folders_below_its_fixed_part(tmp_path, cut, photo):
    for name in ("DCIM/100APPLE/IMG_0001.jpg", "DCIM/101APPLE/IMG_0001.jpg", "DCIM/IMG_0001.jpg"):
        photo(name)
    for _ in range(2):
        result = cut(f"{tmp_path}/DCIM/**/*.jpg", "-o", tmp_path / "out")
        assert result.status == 0
        found = sorted(path.relative_to(tmp_path / "out").as_posix()
                       for path in (tmp_path / "out").rglob("*.png"))
        assert found == ["100APPLE/IMG_0001.png", "101APPLE/IMG_0001.png", "IMG_0001.png"]
    assert result.messages[-1].endswith("3 of them before")


def test_equal_names_of_several_folders_go_into_folders(tmp_path, cut, photo):
    folders = {photo(f"{name}/IMG_0001.jpg").parent for name in ("100APPLE", "101APPLE")}
    photo("100APPLE/only.jpg")
    assert cut(*sorted(folders), "-o", tmp_path / "out").status == 0
    found = sorted(path.relative_to(tmp_path / "out").as_posix()
                   for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["100APPLE/IMG_0001.png", "101APPLE/IMG_0001.png", "only.png"]


def test_a_link_to_a_folder_above_shows_no_picture_twice(tmp_path, cut, photo):
    photo("in/a.jpg"), photo("in/deeper/b.jpg")
    (tmp_path / "in" / "deeper" / "up").symlink_to(tmp_path / "in")
    result = cut(f"{tmp_path}/in/**/*.jpg", "-o", tmp_path / "out")
    assert result == (0, [*result.messages[:-1], f"2 of 2 written to {tmp_path / 'out'}"])
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["a.png", "b.png"]


def test_what_is_left_out_of_a_folder_is_named(tmp_path, cut, photo):
    photo("in/a.jpg")
    (tmp_path / "in" / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "in" / "gone.png").symlink_to("nowhere.png")
    for name in ("raw.dng", "render.exr", "photo.jxl", "notes.txt"):
        (tmp_path / "in" / name).write_bytes(b"something")
    result = cut(tmp_path / "in", "-o", tmp_path / "out")
    told = "\n".join(result.messages)
    assert result.status == 1 and result.messages[-1] == f"1 of 6 written to {tmp_path / 'out'}"
    for name, reason in (("self.jpg", "a link that leads nowhere"), ("gone.png", "a link that leads nowhere"),
                         ("raw.dng", "develop this camera's raw file"), ("render.exr", "expected a picture")):
        assert f"{tmp_path / 'in' / name}: {reason}" in told
    assert f"no pictures, left out: {tmp_path / 'in' / 'notes.txt'}" in told
    rows = (tmp_path / "out" / "_failed.csv").read_text().splitlines()
    assert len(rows) == 6


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animation_gives_its_first_frame_and_says_so(tmp_path, cut, name):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100)
    result = cut(tmp_path / name, "-o", tmp_path / "out.tif", "--background", "white")
    told = "\n".join(result.messages)
    assert result.status == 0 and ("this is its first frame" in told or "nothing found" in told)


@pytest.mark.slow
def test_standard_input_and_output(tmp_path, photo, tiny):
    command = [sys.executable, "-m", "birefnet", "cut", "-", "-o", "-", "--model", str(tiny)]
    done = subprocess.run(command, input=photo("a.jpg").read_bytes(), capture_output=True, cwd=ROOT,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    picture = Image.open(io.BytesIO(done.stdout))
    assert (picture.format, picture.mode) == ("PNG", "RGBA")
    assert picture.size == Image.open(tmp_path / "a.jpg").size
    assert not (ROOT / "-").exists()


def test_standard_output_takes_one_picture(tmp_path, cut, photo):
    photo("in/a.png"), photo("in/b.png")
    assert cut(tmp_path / "in", "-o", "-") == (1, ["error: -o -: standard output takes one picture; give a "
                                                   "folder for several"])


def test_the_matte_is_refined_with_the_operators_of_refine_mask(tmp_path, cut, photo, network):
    source = photo("a.png")
    image = pictures.read(source)
    wanted = masks.refine(birefnet.matte(network, image), black=0.2, white=0.6, largest=1, fill=400, grow=1)
    assert cut(source, "-o", tmp_path / "b.png", "--mask", "--refine",
               "levels=0.2:0.6,largest=1,holes=400,grow=1").status == 0
    assert (levels(tmp_path / "b.png")[..., 0] - wanted[0]).abs().max() < 0.6 / 255


@pytest.mark.parametrize("text", ["levels=0.5", "levels=0.9:0.1", "blur=3", "largest=x", "holes=-1", ""])
def test_operators_that_are_none(tmp_path, photo, text, capsys):
    with pytest.raises(SystemExit):
        main(["cut", str(photo("a.png")), "-o", str(tmp_path / "b.png"), "--refine", text])
    assert "--refine: expected" in capsys.readouterr().err


def test_results_are_not_overwritten_unless_forced(tmp_path, cut, photo):
    photo("in/a.png"), photo("in/b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_text("mine")
    result = cut(tmp_path / "in", "-o", tmp_path / "out")
    assert result.status == 1 and any("a.png exists; --force overwrites" in line for line in result.messages)
    assert (tmp_path / "out" / "a.png").read_text() == "mine" and (tmp_path / "out" / "b.png").exists()
    assert cut(tmp_path / "in", "-o", tmp_path / "out", "--force").status == 0
    assert Image.open(tmp_path / "out" / "a.png").mode == "RGBA"


def test_a_result_that_appears_meanwhile_is_not_overwritten(tmp_path, cut, photo, monkeypatch):
    quick = inference.network_alpha

    def slow(*arguments):
        (tmp_path / "b.png").write_text("somebody else's")
        return quick(*arguments)

    monkeypatch.setattr(inference, "network_alpha", slow)
    result = cut(photo("a.png"), "-o", tmp_path / "b.png")
    assert result.status == 1 and f"{tmp_path / 'b.png'}: exists; --force overwrites" in result.messages
    assert (tmp_path / "b.png").read_text() == "somebody else's"


def test_an_input_is_never_replaced(tmp_path, cut, photo):
    source = photo("a.png")
    before = source.read_bytes()
    for out in (source, tmp_path):
        result = cut(source, "-o", out, "--force")
        assert result.status == 1 and "which is read" in result.messages[0]
    assert source.read_bytes() == before


@pytest.mark.parametrize("out", ["b.png", "."])
def test_the_background_is_never_replaced(tmp_path, cut, photo, out):
    """Neither by name, nor by a folder's <stem>.png."""
    photo("in/b.jpg"), photo("in/c.jpg")
    behind = photo("b.png")
    before = behind.read_bytes()
    inputs = [tmp_path / "in" / "b.jpg"] if out == "b.png" else [tmp_path / "in"]
    result = cut(*inputs, "-o", tmp_path / out, "--background", behind, "--force")
    assert result.status == 1 and "which is read" in result.messages[0] and behind.read_bytes() == before
    assert (tmp_path / "c.png").exists() == (out == ".")


# What is said -----------------------------------------------------------------------------------------------


def test_unreadable_files_are_reported_and_the_rest_done(tmp_path, cut, photo):
    photo("in/a.png"), photo("in/d.png")
    (tmp_path / "in" / "b.png").touch()
    (tmp_path / "in" / "c.jpg").write_text("not a picture")
    result = cut(tmp_path / "in", tmp_path / "gone.png", "-o", tmp_path / "out")
    assert result.status == 1 and names(tmp_path / "out") == ["_failed.csv", "a.png", "d.png"]
    said = dict(line.split(": ", 1) for line in result.messages if line.startswith(str(tmp_path)))
    assert said[str(tmp_path / "in" / "b.png")] == "the file is empty"
    assert said[str(tmp_path / "in" / "c.jpg")].startswith("expected a picture")
    assert said[str(tmp_path / "gone.png")] == "there is no such file"
    assert len(said) == 3 and result.messages[-1].startswith("2 of 5 written")


def test_a_small_subject_is_no_empty_matte(tmp_path, network):
    """36 pixels across in 1280 × 1280: less than a thousandth of the picture."""
    alpha = torch.zeros(1, 1280, 1280)
    alpha[:, 600:636, 600:636] = 0.9
    image = torch.rand(1, 1280, 1280, 3)
    look = steps.CutOptions(network.config, None, True, {}, None, False, False)
    for network_alpha, empty in ((alpha, False), (alpha / 2, True)):
        job = manifest.Job("a.png", str(tmp_path / f"{empty}.png"))
        photograph = photographs.Photograph(image, image)
        outcome = steps.finish(steps.Picture(job, photograph=photograph, small=network_alpha), look)
        assert bool(outcome.remark) == empty and not outcome.error


def test_an_empty_matte_is_said(tmp_path, cut, photo, network):
    blind = birefnet.BiRefNet(network.config)
    blind.load_state_dict(network.state_dict())
    torch.nn.init.zeros_(blind.decoder.conv_out1[0].weight)
    torch.nn.init.constant_(blind.decoder.conv_out1[0].bias, -20)
    birefnet.save(blind, tmp_path / "blind.safetensors")
    source = photo("a.png")
    result = cut(source, "-o", tmp_path / "b.png", model=tmp_path / "blind.safetensors")
    assert result.status == 0 and any(line.startswith(f"{source}: nothing found") for line in result.messages)
    assert not levels(tmp_path / "b.png").any()


def test_the_checkpoint_and_the_device_are_said(tmp_path, cut, photo, network):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result = cut(photo("a.png"), "-o", tmp_path / "b.png")
    assert f"tiny.safetensors on {device} in fp32: {network.config.describe()}" in result.messages


@pytest.mark.parametrize("name, said", [("RMBG-2.0", 1), ("BiRefNet", 0)])
def test_a_non_commercial_licence_is_said(tmp_path, cut, photo, tiny, name, said):
    model = tmp_path / f"{name}.safetensors"
    model.write_bytes(tiny.read_bytes())
    result = cut(photo("a.png"), "-o", tmp_path / "b.png", model=model)
    assert result.status == 0 and sum("non-commercial use only" in line for line in result.messages) == said


@pytest.mark.parametrize("arguments, message", [
    (["{}/*.nothing", "-o", "{}/out"], "no file matches"),
    (["{}/empty", "-o", "{}/out"], "contains no picture"),
    (["{}/a.png", "{}/b.png", "-o", "{}/out.png"], "out.png: expected a folder"),
    (["{}/a.png", "{}/b.png", "-o", "{}/notes.txt"], "notes.txt: expected a folder"),
    (["{}/a.png", "-o", "{}/out.jpg"], "JPEG has no transparency"),
    (["{}/a.png", "-o", "{}/out.psd"], "expected a name that ends in .png"),
    (["{}/a.png", "-o", "{}/out.png", "--background", "rainbow"], "--background rainbow: expected a colour"),
    (["{}/a.png", "-o", "{}/out.png", "--background", "{}/notes.txt"], "expected a picture"),
    (["{}/a.png", "-o", "{}/out.jpg", "--background", "#ff000080"], "or an opaque background"),
    (["{}/a.png", "-o", "{}/out.jpg", "--background", "{}/glass.png"], "or an opaque background"),
    (["s3://shop/photos", "-o", "{}/out"], "s3://shop/photos: Unable to locate credentials"),
    (["s3://shop/a.jpg", "-o", "{}/out.png"], "s3://shop/a.jpg: Unable to locate credentials"),
    (["s3://shop/*.jpg", "-o", "{}/out"], "s3://shop/*.jpg: Unable to locate credentials"),
    (["{}/a.png", "-o", "s3://shop/out"], "Unable to locate credentials"),
    (["{}/a.png", "-o", "s3://shop/out.png"], "Unable to locate credentials"),
    (["{}/a.png", "-o", "{}/out.png", "--background", "s3://shop/b.jpg"], "Unable to locate credentials"),
    (["{}/a.png", "-o", "{}/notes.txt/out"], "notes.txt/out"),
])
def test_mistakes_are_one_line_and_nothing_is_written(tmp_path, cut, photo, no_keys, arguments, message):
    photo("a.png"), photo("b.png")
    Image.new("RGBA", (8, 8), (0, 0, 255, 100)).save(tmp_path / "glass.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    before = names(tmp_path)
    result = cut(*(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert result.status == 1 and len(result.messages) == 1, result.messages
    assert result.messages[0].startswith("error: ") and "remove the folder" not in result.messages[0]
    assert message in result.messages[0]
    assert names(tmp_path) == before


@pytest.mark.parametrize("content, message", [
    (None, "No checkpoint"), (b"", "empty"), (b"<html>not found</html>", "web page"),
    (b"PK\x03\x04 cut off", "damaged"),
])
def test_a_checkpoint_that_is_none(tmp_path, cut, photo, content, message):
    model = "nothing-such" if content is None else tmp_path / "m.safetensors"
    if content is not None:
        model.write_bytes(content)
    result = cut(photo("a.png"), "-o", tmp_path / "b.png", model=model)
    assert result.status == 1 and len(result.messages) == 1
    assert message in result.messages[0] and not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("size", ["0", "32", "9000", "64x", "x64", "64x64x64", "-64", "big", "64.5"])
def test_sizes_that_are_none(tmp_path, photo, size, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["cut", str(photo("a.png")), "-o", str(tmp_path / "b.png"), f"--size={size}"])
    assert stop.value.code == 2 and "each 64 to 8192 pixels" in capsys.readouterr().err


def test_mask_and_background_exclude_each_other(tmp_path, photo, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["cut", str(photo("a.png")), "-o", str(tmp_path / "b.png"), "--mask", "--background", "red"])
    assert stop.value.code == 2 and "not allowed with" in capsys.readouterr().err


def test_a_disk_that_refuses(tmp_path, cut, photo, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "write_file", full)
    result = cut(photo("a.png"), "-o", tmp_path / "b.png")
    assert result.status == 1
    assert f"{tmp_path / 'b.png'}: cannot be written (No space left on device)" in result.messages


def test_when_the_gpu_is_too_small_the_cpu_goes_on(tmp_path, cut, photo, monkeypatch):
    gpu = Gpu(monkeypatch, room=0)
    photo("in/a.png"), photo("in/b.png")
    result = cut(tmp_path / "in", "-o", tmp_path / "out")
    assert result.status == 0 and names(tmp_path / "out") == ["a.png", "b.png"]
    # two at once, one, twice in smaller steps, then each on the CPU
    assert gpu.tried == [("cuda", 2, None), *(("cuda", 1, step) for step in (None, *FALLBACK_BUDGETS)),
                         ("cpu", 1, None), ("cpu", 1, None)]
    assert sum("continuing on the CPU" in line for line in result.messages) == 1


class Gpu(models.Terminal):
    """A GPU that has room for passes of so many pixels: the network says that it is there, until it goes to
    the CPU."""

    def __init__(self, monkeypatch, room: int) -> None:
        self.tried, self.where, self.room = [], "", room
        self.alpha = inference.network_alpha
        monkeypatch.setattr(models, "Runner",
                            lambda network, host: Runner(network, torch.device("cuda"), host=self))
        monkeypatch.setattr(inference, "network_alpha", self.network_alpha)

    def load(self, network, device, dtype, memory_bytes):
        self.where = device.type

    def free_memory(self, device):
        return None

    def network_alpha(self, model, x):
        self.tried.append((self.where, len(x), model.budget_bytes))
        if self.where == "cuda" and x[:, 0].numel() > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.alpha(model, x)


def test_when_the_checkpoint_does_not_fit_the_gpu_it_runs_on_the_cpu(tmp_path, cut, photo, monkeypatch):
    def load(path, *, device, **options):
        if device == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return birefnet.load(path, device=device, **options)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(models, "load", load)
    result = cut(photo("a.png"), "-o", tmp_path / "b.png")
    assert result.status == 0 and "continuing on the CPU" in result.messages[0]
    assert result.messages[1].startswith("tiny.safetensors on cpu")


def test_when_the_checkpoint_does_not_fit_at_all(tmp_path, cut, photo, monkeypatch, tiny):
    def load(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(models, "load", load)
    result = cut(photo("a.png"), "-o", tmp_path / "b.png")
    assert result == (1, [f"error: Choose a lighter checkpoint: not enough memory to load {tiny}"])


def test_when_memory_is_too_small_the_rest_is_done(tmp_path, cut, photo, monkeypatch):
    def full_alpha(small, frame, config):
        if frame.shape[0] > 100:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate "
                               "memory")
        return inference.full_alpha(small, frame, config)

    monkeypatch.setattr(steps, "full_alpha", full_alpha)
    large, small = photo("in/a.png", size=(200, 200)), photo("in/b.png")
    result = cut(large, small, "-o", tmp_path / "out")
    assert result.status == 1 and names(tmp_path / "out") == ["_failed.csv", "b.png"]
    assert f"{large}: not enough memory; a smaller --size needs less" in result.messages
