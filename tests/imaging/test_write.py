"""`birefnet.imaging.pictures.write` and what is written: rounding, formats, and nothing half-written or
lost."""

from __future__ import annotations

import errno
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet.imaging import pictures


def noise(channels: int, size: tuple[int, int] = (24, 32)) -> torch.Tensor:
    return torch.rand(1, *size, channels, generator=torch.Generator().manual_seed(channels))


@pytest.mark.parametrize("suffix, channels, mode", [
    (".png", 1, "L"), (".png", 3, "RGB"), (".png", 4, "RGBA"),
    (".tif", 1, "L"), (".tiff", 3, "RGB"), (".tif", 4, "RGBA"),
    (".webp", 3, "RGB"), (".webp", 4, "RGBA"), (".PNG", 4, "RGBA"),
])
def test_what_is_written_is_the_rounded_picture(tmp_path, suffix, channels, mode):
    picture = noise(channels)
    pictures.write(tmp_path / f"a{suffix}", picture)
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.mode == mode
        assert np.array_equal(np.asarray(image).reshape(24, 32, -1), (picture[0] * 255).round().numpy())


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(tmp_path, suffix, channels):
    pictures.write(tmp_path / f"a{suffix}", torch.full((1, 16, 16, channels), 0.5))
    assert (pictures.read(tmp_path / f"a{suffix}") - 0.5).abs().max() < 0.01


def test_every_level_survives_writing_and_reading(tmp_path):
    levels = torch.arange(256).reshape(1, 16, 16, 1).expand(-1, -1, -1, 4) / 255
    pictures.write(tmp_path / "a.png", levels)
    assert torch.equal(pictures.read(tmp_path / "a.png"), levels)


def test_values_outside_and_nan_are_clamped(tmp_path):
    pictures.write(tmp_path / "a.png", torch.tensor([-1.0, 2.0, float("nan"), 0.5]).reshape(1, 2, 2, 1))
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 255], [0, 128]]


@pytest.mark.parametrize("name, channels, reason", [
    ("a.jpg", 4, "no transparency"), ("a.bmp", 3, "got .bmp"), ("a", 3, "got no suffix"),
])
def test_names_that_cannot_be_written(tmp_path, name, channels, reason):
    with pytest.raises(pictures.PictureError, match=reason):
        pictures.write(tmp_path / name, noise(channels))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unless_forced(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        pictures.write(path, noise(3))
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]
    pictures.write(path, noise(3), force=True)
    assert Image.open(path).size == (32, 24) and list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made_and_permissions_are_the_usual(tmp_path):
    (tmp_path / "usual").touch()
    pictures.write(tmp_path / "b" / "c" / "a.png", noise(3))
    modes = {stat.S_IMODE(os.stat(path).st_mode)
             for path in (tmp_path / "usual", tmp_path / "b" / "c" / "a.png")}
    assert len(modes) == 1


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "b").touch()
    with pytest.raises(NotADirectoryError):
        pictures.write(tmp_path / "b" / "a.png", noise(3))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("interruption",
                         [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_an_interruption_while_writing_leaves_nothing(tmp_path, monkeypatch, interruption, force):
    """The encoder has written half of its bytes when Ctrl-C comes, or the disk is full."""
    def half(self, file, **options):
        file.write(b"\x89PNG half of it")
        raise interruption

    path = tmp_path / "a.png"
    if force:
        path.write_text("mine")
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises((KeyboardInterrupt, OSError)):
        pictures.write(path, noise(3), force=force)
    assert [(entry.name, entry.read_text())
            for entry in tmp_path.iterdir()] == ([("a.png", "mine")] if force else [])


@pytest.mark.parametrize("links", [True, False])
def test_one_of_several_racing_writers_wins(tmp_path, monkeypatch, links):
    """Also on a file system without hard links. The file is whole, and it is that of the writer who was told
    so."""
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    start = threading.Barrier(6)

    def write(level):
        start.wait()
        try:
            pictures.write(tmp_path / "a.png", torch.full((1, 64, 64, 1), level / 255))
        except FileExistsError:
            return None
        return level

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(write, range(10, 70, 10)))
    winners = [level for level in told if level is not None]
    assert len(winners) == 1
    assert set(np.asarray(Image.open(tmp_path / "a.png")).ravel()) == set(winners)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_cutout_is_straight_and_hides_what_was_removed():
    image = torch.full((1, 1, 3, 3), 0.6)
    found = pictures.cutout(image, torch.tensor([[[1.0, 0.25, 0.001]]]))
    assert torch.allclose(found[0, 0],
                          torch.tensor([[0.6, 0.6, 0.6, 1], [0.6, 0.6, 0.6, 0.25], [0, 0, 0, 0.001]]))


def test_over_an_opaque_background():
    front = torch.tensor([1.0, 0.5, 0.0, 0.25]).reshape(1, 1, 1, 4)
    found = pictures.over(front, torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3))
    assert found.flatten().tolist() == pytest.approx([0.25, 0.5, 0.75])


@pytest.mark.parametrize("alpha, behind, expected", [
    (0.5, 0.5, [2 / 3, 0, 1 / 3, 0.75]), (1.0, 0.5, [1, 0, 0, 1]), (0.0, 0.5, [0, 0, 1, 0.5]),
    (0.0, 0.0, [0, 0, 0, 0]),
])
def test_over_a_translucent_background(alpha, behind, expected):
    """Red over blue; Pillow's alpha_composite agrees within its 8 bits."""
    front, back = torch.tensor([1.0, 0, 0, alpha]), torch.tensor([0, 0, 1.0, behind])
    found = pictures.over(front.reshape(1, 1, 1, 4), back.reshape(1, 1, 1, 4)).flatten()
    assert found.tolist() == pytest.approx(expected)
    layers = [Image.new("RGBA", (1, 1), tuple((layer * 255).round().int().tolist()))
              for layer in (back, front)]
    if expected[3]:
        assert [level / 255 for level in Image.alpha_composite(*layers).getpixel((0, 0))] == pytest.approx(
            expected, abs=1.5 / 255)
