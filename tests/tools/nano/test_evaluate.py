"""How the default checkpoint is measured."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import birefnet
from tools.nano.evaluate import Score, iou, measure, measure_bfloat16, off_centre, subject_free


def test_iou_of_known_masks():
    a, b = torch.zeros(4, 4), torch.zeros(4, 4)
    a[:2], b[1:3] = 1, 1
    assert iou(a, b) == pytest.approx(1 / 3) and iou(a, a) == 1 and iou(a * 0, b * 0) == 1


@pytest.mark.parametrize("corner", range(4))
def test_off_centre_pads_with_the_mirror_image_and_cuts_back(corner):
    image, seen = torch.rand(40, 60, 3), []

    def red(padded: torch.Tensor) -> torch.Tensor:
        seen.append(padded)
        return padded[..., 0]

    assert torch.equal(off_centre(red, image, corner), image[..., 0])
    assert seen[0].shape == (50, 75, 3)
    top, left = 10 * (corner & 1), 15 * (corner >> 1)
    assert torch.equal(seen[0][top:top + 40, left:left + 60], image)


def test_measure_reads_a_folder_of_pairs(tiny, tmp_path):
    (tmp_path / "set/im").mkdir(parents=True)
    (tmp_path / "set/gt").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (80, 60), (200, 30, 30)).save(tmp_path / f"set/im/{name}.jpg")
        Image.new("L", (80, 60), 255).save(tmp_path / f"set/gt/{name}.png")
    score = measure(birefnet.load(tiny), tmp_path / "set")
    assert isinstance(score, Score) and score.pictures == 2
    assert all(0 <= value <= 1 for value in (score.iou, score.error, score.shifted))
    assert score.connectivity > 0  # random weights find something else than all of it


def test_bfloat16_strays_little_and_not_at_all_from_itself(tiny, tmp_path):
    Image.fromarray((torch.rand(60, 80, 3) * 255).byte().numpy()).save(tmp_path / "grain.png")
    mean, highest = measure_bfloat16(tiny, [tmp_path / "grain.png"])
    assert 0 < mean < highest < 0.1


def test_subject_free_pictures_are_pictures():
    for name, image in subject_free(48).items():
        assert image.shape == (48, 48, 3) and 0 <= image.min() and image.max() <= 1, name
