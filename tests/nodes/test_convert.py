"""Whatever arrives on a socket becomes clean float tensors of known shape, or one clear sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

PHOTO = Path(__file__).parents[1] / "data" / "coffee.jpg"


def flat(value: float, *shape: int) -> torch.Tensor:
    """A tensor of any size that takes no memory."""
    return torch.tensor(value).expand(shape)


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("shape, seen", [
    ((2, 5, 7, 1), (2, 5, 7, 1)),
    ((2, 5, 7, 3), (2, 5, 7, 3)),
    ((2, 5, 7, 4), (2, 5, 7, 4)),
    ((5, 7, 3), (1, 5, 7, 3)),
    ((0, 5, 7, 3), (0, 5, 7, 3)),
    ((1, 1, 1, 3), (1, 1, 1, 3)),
    ((1, 8192, 8192, 4), (1, 8192, 8192, 4)),
])
def test_images_of_every_shape(convert, shape, seen):
    assert convert.frames(flat(0.5, *shape)).shape == seen


@pytest.mark.parametrize("shape, seen", [
    ((5, 7), (1, 5, 7)),
    ((3, 5, 7), (3, 5, 7)),
    ((3, 1, 5, 7), (3, 5, 7)),
    ((3, 5, 7, 1), (3, 5, 7)),
    ((0, 5, 7), (0, 5, 7)),
    ((1, 1), (1, 1, 1)),
    ((8192, 8192), (1, 8192, 8192)),
])
def test_masks_of_every_shape(convert, shape, seen):
    assert convert.masks(flat(0.5, *shape)).shape == seen


def test_views_share_their_memory(convert):
    image, mask = torch.rand(5, 7, 3), torch.rand(2, 1, 5, 7)
    assert convert.frames(image).data_ptr() == image.data_ptr()
    assert convert.masks(mask).data_ptr() == mask.data_ptr()


@pytest.mark.parametrize("image, words", [
    (flat(0.5, 1, 5, 7, 2), "1, 3 or 4 channels: got [1, 5, 7, 2]"),
    (flat(0.5, 5, 7), "got [5, 7]"),
    (flat(0.5, 1, 0, 7, 3), "at least 1×1 pixel"),
    ("a path", "got str"),
    (None, "Connect an IMAGE: expected a tensor, got NoneType"),
])
def test_what_is_no_image_is_explained(convert, image, words):
    with pytest.raises(ValueError) as error:
        convert.frames(image)
    assert words in str(error.value) and str(error.value).startswith("Connect")


@pytest.mark.parametrize("mask, words", [
    (flat(0.5, 2, 5, 7, 3), "Connect a MASK [batch, height, width]: got [2, 5, 7, 3]"),
    (flat(0.5, 7), "got [7]"),
    (flat(0.5, 1, 5, 0), "at least 1×1 pixel"),
    (None, "Connect a MASK: expected a tensor, got NoneType"),
])
def test_what_is_no_mask_is_explained(convert, mask, words):
    with pytest.raises(ValueError) as error:
        convert.masks(mask)
    assert words in str(error.value) and str(error.value).startswith("Connect")


def test_a_photograph_stays_as_it_is_bit_for_bit(convert, caplog):
    photo = torch.from_numpy(np.array(Image.open(PHOTO))).float()[None] / 255
    cleaned = convert.Cleaner("the image")(photo)
    assert cleaned.data_ptr() == photo.data_ptr()
    assert not messages(caplog)


@pytest.mark.parametrize("dtype, tolerance",
                         [(torch.float16, 1e-3), (torch.bfloat16, 1e-2), (torch.float64, 1e-6)])
def test_other_float_formats_become_float32(convert, dtype, tolerance):
    values = torch.rand(2, 5, 7, 3, dtype=torch.float64)
    cleaned = convert.Cleaner("the image")(values.to(dtype))
    assert cleaned.dtype == torch.float32
    assert torch.allclose(cleaned.double(), values, atol=tolerance)


def test_bytes_and_booleans_are_scaled(convert):
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert convert.Cleaner("the image")(pixels).tolist() == pytest.approx([0, 0.2, 1])
    assert convert.Cleaner("the mask")(torch.tensor([False, True])).tolist() == [0, 1]


def test_other_integers_are_refused(convert):
    with pytest.raises(ValueError, match="^Convert the mask to floats in 0..1: it is int64"):
        convert.Cleaner("the mask")(torch.ones(1, 5, 7, dtype=torch.int64))


def test_values_out_of_range_are_clipped_and_told_once(convert, caplog, monkeypatch):
    notes = []
    monkeypatch.setattr(convert.messages, "note", notes.append)
    clean = convert.Cleaner("the image")
    nan, inf = float("nan"), float("inf")
    first = clean(torch.tensor([nan, inf, -inf, -0.5, 0.25, 1.5]))
    second = clean(torch.tensor([2.0, 0.5]))
    assert first.tolist() == [0, 1, 0, 0, 0.25, 1]
    assert second.tolist() == [1, 0.5]
    assert len(messages(caplog)) == 1 and "the image" in messages(caplog)[0]
    clean(torch.tensor([nan]))
    assert notes == ["the image held values that are not numbers (NaN), which count as 0: check what made it"]


def test_what_is_a_number_is_not_noted_and_without_a_host_nothing_fails(convert, monkeypatch):
    convert.Cleaner("the mask")(torch.tensor([float("nan")]))
    monkeypatch.delattr(convert.messages, "note")
    convert.Cleaner("the mask")(torch.tensor([2.0]))


def test_an_empty_batch_is_clean(convert, caplog):
    assert convert.Cleaner("the image")(torch.empty(0, 5, 7, 3, dtype=torch.float16)).shape == (0, 5, 7, 3)
    assert not messages(caplog)


@pytest.mark.parametrize("view", [
    lambda x: x.permute(0, 2, 1, 3),
    lambda x: x.flip(1)[:, ::2],
    lambda x: x[..., :3].movedim(3, 1).contiguous().movedim(1, 3),
])
def test_non_contiguous_tensors_keep_their_values(convert, view):
    image = view(torch.rand(2, 6, 8, 4))
    assert not image.is_contiguous()
    alpha = torch.rand(*image.shape[:3])
    assert torch.equal(convert.Cleaner("the image")(convert.frames(image)), image)
    assert torch.equal(convert.with_alpha(image, alpha), torch.cat([image[..., :3], alpha[..., None]], 3))


@pytest.mark.parametrize("masks, images, frames", [
    (1, 1, 1), (5, 5, 5), (1, 5, 5), (5, 1, 5), (0, 1, 0), (1, 0, 0), (0, 0, 0),
])
def test_batches_pair_up(convert, masks, images, frames):
    assert convert.common_batch(masks, images) == frames


@pytest.mark.parametrize("masks, images", [(2, 3), (0, 2), (4, 0)])
def test_batches_that_do_not_pair_up_are_explained(convert, masks, images):
    with pytest.raises(ValueError, match=f"^Connect .*: got {masks} masks and {images} images"):
        convert.common_batch(masks, images)


def test_one_frame_serves_all(convert):
    many, one = torch.arange(3.0).view(3, 1, 1), torch.ones(1, 1, 1)
    assert [convert.frame(many, i).item() for i in range(3)] == [0, 1, 2]
    assert [convert.frame(one, i).item() for i in range(3)] == [1, 1, 1]


def test_some_of_many_are_told_by_index(convert):
    told = convert.messages.list_indices
    assert told([0, 3, 7], 9, "pictures") == "in 3 of 9 pictures (index 0, 3, 7)"
    assert told(list(range(12)), 12,
                "masks") == "in 12 of 12 masks (index 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …)"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_cutout_has_straight_colours_and_alpha(convert, channels):
    image, alpha = torch.rand(2, 5, 7, channels), torch.rand(2, 5, 7)
    rgba = convert.with_alpha(image, alpha)
    assert rgba.shape == (2, 5, 7, 4)
    assert torch.equal(rgba[..., 3], alpha)
    assert torch.equal(rgba[..., :3], image[..., :3].expand(2, 5, 7, 3))
    room = torch.zeros(4, 5, 7, 4)
    convert.with_alpha(image, alpha, out=room[1:3])
    assert torch.equal(room[1:3], rgba) and not room[0].any() and not room[3].any()
