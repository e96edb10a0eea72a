"""What a network is measured by on pictures held out: the files' masks, whatever they are kept in."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

import birefnet
from birefnet.data.pairs import find_pairs
from birefnet.imaging.pictures import PictureError
from birefnet.training.processes import Processes
from birefnet.training.validate import score_pairs


@pytest.fixture
def data(pairs, tmp_path):
    """A copy of two pairs."""
    for name in ("im/00.png", "im/01.png", "gt/00.png", "gt/01.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(pairs / name, tmp_path / name)
    return tmp_path


def test_masks_in_floats_give_the_measures_of_the_same_masks_in_bytes(data, tiny):
    model = birefnet.load(tiny)
    in_bytes, _ = score_pairs(model, find_pairs(data), Processes())
    for path in (data / "gt").iterdir():
        with Image.open(path) as mask:
            Image.fromarray(np.asarray(mask, np.float32) / 255).save(path.with_suffix(".tif"))
        path.unlink()
    in_floats, _ = score_pairs(model, find_pairs(data), Processes())
    assert in_floats == pytest.approx(in_bytes, abs=1e-6)


def test_a_mask_with_transparency_is_named(data, tiny):
    with Image.open(data / "gt/01.png") as mask:
        Image.merge("LA", (mask, mask)).save(data / "gt/01.png")
    with pytest.raises(PictureError, match=r"gt/01\.png: expected grey levels, got transparency"):
        score_pairs(birefnet.load(tiny), find_pairs(data), Processes())
