"""What the network is shown: masks lie on their pictures, batches depend on seed and step only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet.data import augment
from birefnet.data.batches import load_batches, to_unit_range
from birefnet.data.pairs import Pair, find_pairs
from birefnet.data.sample import make_sample
from birefnet.imaging.pictures import read
from birefnet.matting.predict import resize_to_network
from birefnet.training.pair_batches import PairBatches
from birefnet.training.plan import AUGMENTATIONS, Phase, Size, TrainingPlan

PLAN = TrainingPlan(steps=6, batch=4, phases=(Phase(1.0, Size.fixed(64, 96)),), augmentations=AUGMENTATIONS,
                    seed=3)


def learnt(folder: Path, plan: TrainingPlan = PLAN, workers: int = 0, start: int = 0, **options) -> list:
    source = PairBatches(find_pairs(folder), plan, **options)
    return [to_unit_range(item) for item in load_batches(source, start, plan.steps, workers)]


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for x, y in zip(one, other) for a, b in zip(x, y))


def test_batches_are_floats_of_the_plans_size(pairs):
    for images, alphas in learnt(pairs):
        assert images.shape == (4, 3, 64, 96) and alphas.shape == (4, 1, 64, 96)
        assert images.dtype == alphas.dtype == torch.float32 and 0 <= images.min() and images.max() <= 1


def test_workers_change_nothing_and_the_seed_everything(pairs):
    straight = learnt(pairs, workers=0)
    assert same(straight, learnt(pairs, workers=2))
    assert not same(straight, learnt(pairs, replace(PLAN, seed=4)))


def test_a_run_can_go_on_in_the_middle_of_an_epoch(pairs):
    assert same(learnt(pairs)[3:], learnt(pairs, start=3))


def test_processes_together_see_what_one_would(pairs):
    whole = learnt(pairs)
    parts = [learnt(pairs, rank=rank, processes=2) for rank in range(2)]
    assert same(whole, [tuple(map(torch.cat, zip(*step))) for step in zip(*parts)])


def test_every_epoch_holds_every_picture_once_in_another_order(pairs):
    source = PairBatches(find_pairs(pairs), replace(PLAN, batch=4))
    seen = [place for step in range(5) for place in source.places(step)]  # 20 pictures of two epochs of 10
    first, second = ([index for epoch, index in seen if epoch == wanted] for wanted in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert [epoch for epoch, _ in source.places(2)] == [0, 0, 1, 1]


def test_a_range_of_sizes_draws_one_for_each_batch(pairs):
    plan = replace(PLAN, steps=8, phases=(Phase(1.0, Size.parse("64-160")),), augmentations=())
    shapes = [tuple(images.shape[2:]) for images, _ in learnt(pairs, plan)]
    assert len(set(shapes)) > 3 and all(side in (64, 96, 128, 160) for shape in shapes for side in shape)
    assert [plan.size_at(step) for step in range(8)] == shapes


def test_without_variations_a_picture_is_what_matte_would_show_the_network(pairs):
    pair = find_pairs(pairs)[0]
    image, alpha = make_sample(pair, (64, 96), np.random.default_rng(0), ())
    expected = resize_to_network(read(pair.picture)[0], (64, 96))[0]
    assert (image.float() / 255 - expected).abs().max() < 0.5 / 255 + 1e-6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_lie_on_their_pictures_however_the_file_is_turned(tmp_path, orientation):
    """A photograph of its own mask, stored turned; the mask is upright."""
    mask = np.zeros((60, 90), np.uint8)
    mask[5:25, 10:70], mask[5:50, 10:20] = 255, 255
    stored = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
              4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
              7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}[orientation]
    picture = Image.fromarray(mask).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    (picture.transpose(stored) if stored is not None else picture).save(tmp_path / "p.png", exif=exif)
    Image.fromarray(mask).save(tmp_path / "m.png")
    pair = Pair("p", tmp_path / "p.png", tmp_path / "m.png", None)
    for seed in range(4):
        image, alpha = make_sample(pair, (64, 96), np.random.default_rng(seed), ("flip", "crop"))
        assert torch.equal(image[:1], alpha)


@pytest.mark.parametrize("name", augment.AT_NETWORK_SIZE)
def test_each_variation_does_what_it_is_called(name):
    mask = np.zeros((64, 64), np.uint8)
    mask[8:30, 8:50] = 255
    grey = Image.fromarray(np.where(mask, 200, 90).astype(np.uint8))
    picture = Image.merge("RGB", [grey, grey.point(lambda level: level // 2), grey])
    changed = 0
    for seed in range(40):
        image, alpha = augment.AT_NETWORK_SIZE[name](np.random.default_rng(seed), picture,
                                                     Image.fromarray(mask))
        moved, noisy = np.array(image) != np.array(picture), np.array(alpha) != mask
        changed += moved.any() or noisy.any()
        if name == "flip":
            assert np.array_equal(np.array(alpha), mask if not noisy.any() else mask[:, ::-1])
        if name in ("flip", "rotate"):  # the mask goes where its picture goes
            away = np.array(alpha) > 128
            assert abs(np.array(image)[..., 0][away].mean() - 200) < 5
        if name == "enhance":
            assert not noisy.any()
        if name == "pepper":
            assert not moved.any() and noisy.mean() <= augment.PEPPER_SHARE
            assert set(np.unique(alpha)) <= {0, 255}
    expected = {"flip": (10, 30), "rotate": (2, 16), "enhance": (40, 40), "pepper": (30, 40)}[name]
    assert expected[0] <= changed <= expected[1]


def test_crop_cuts_the_same_window_from_both():
    image = torch.arange(50 * 80.0).view(1, 50, 80, 1)
    sizes = set()
    for seed in range(20):
        part, mask = augment.crop(np.random.default_rng(seed), image, image[..., 0])
        assert torch.equal(part[..., 0], mask) and mask.shape[1] >= 45 and mask.shape[2] >= 72
        sizes.add(tuple(mask.shape))
    assert len(sizes) > 10


def test_over_a_new_background_the_subject_stays_and_the_rest_goes(pairs, tmp_path):
    Image.new("RGB", (300, 200), (0, 255, 0)).save(tmp_path / "green.png")
    pair, composed = find_pairs(pairs)[0], 0
    original, alpha = make_sample(pair, (64, 64), np.random.default_rng(0), ())
    inside, outside = alpha[0] == 255, alpha[0] == 0
    for seed in range(20):
        image, mask = make_sample(pair, (64, 64), np.random.default_rng(seed), (), [tmp_path / "green.png"])
        assert torch.equal(mask, alpha) and torch.equal(image[:, inside], original[:, inside])
        if not torch.equal(image, original):
            composed += 1
            assert (image[:, outside] == torch.tensor([[0], [255], [0]])).all()
    assert 5 <= composed <= 15
