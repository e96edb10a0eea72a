"""The default checkpoint learns wall cracks from a few pictures, and finds them on walls of other kinds.

A short lesson, for every change of the code; the whole proof is prove.py.
"""

from __future__ import annotations

import cracks
import numpy as np
import pytest
import torch
from prove import NANO, iou, masks_of

import birefnet
from birefnet.training.finetune import finetune


def test_the_two_sets_share_neither_textures_nor_cracks():
    textures, generators = (set().union(*part) for part in zip(*cracks.SETS.values()))
    assert len(textures) == sum(len(own) for own, _ in cracks.SETS.values())
    assert len(generators) == sum(len(own) for _, own in cracks.SETS.values())


@pytest.mark.parametrize("name", list(cracks.SETS))
def test_cracks_are_thin_dark_and_where_the_mask_says(name):
    images, masks = cracks.pictures(name, 6, 3)
    again, _ = cracks.pictures(name, 1, 3)
    assert torch.equal(images[:1], again) and images.shape == (6, cracks.SIDE, cracks.SIDE, 3)
    assert 0.002 < masks.mean((1, 2)).min() and masks.mean((1, 2)).max() < 0.08
    for image, mask in zip(images.mean(-1).numpy(), masks.numpy()):
        beside = (np.roll(mask, (12, 12), (0, 1)) > 0.5) & (mask < 0.1)
        assert image[mask > 0.9].mean() < image[beside].mean() - 0.05


def test_a_short_lesson_raises_the_iou_on_other_walls_and_cracks():
    images, masks = cracks.pictures("training", 16, 0)
    unseen, known = cracks.pictures("held out", 6, 0)  # each kind of wall with each kind of crack
    before = iou(masks_of(birefnet.load(NANO), unseen), known)
    tuned = finetune(birefnet.load(NANO, form="plain"), images, masks, what="head", steps=30, batch=2,
                     rate=6e-3)
    after = iou(masks_of(birefnet.load(NANO, adapters=[(tuned.adapter, 1.0)]), unseen), known)
    assert after > before + 0.15
