"""`cut` with the included checkpoint on photographs whose masks are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet.__main__ import main
from birefnet.imaging import pictures

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name", ["astronaut", "coffee", "dandelion"])
def test_the_subject_is_kept_and_the_background_removed(tmp_path, name):
    """The bar is low enough for any checkpoint worth shipping, and out of reach for an inverted or shifted
    matte."""
    assert main(["cut", str(DATA / f"{name}.jpg"), "-o", str(tmp_path / "cutout.png")]) == 0
    alpha = pictures.read(tmp_path / "cutout.png")[0, ..., 3]
    subject = pictures.read(DATA / f"{name}_mask.png")[0, ..., 0] > 0.5
    assert alpha.shape == subject.shape
    assert alpha[subject].mean() > alpha[~subject].mean() + 0.3
    found = alpha > 0.5
    assert (found & subject).sum() / (found | subject).sum() > 0.6


def test_the_mask_is_the_cutouts_alpha(tmp_path):
    photo = str(DATA / "chelsea.jpg")
    main(["cut", photo, "-o", str(tmp_path / "cutout.png")])
    main(["cut", photo, "-o", str(tmp_path / "mask.png"), "--mask"])
    cutout, mask = (pictures.read(tmp_path / name) for name in ("cutout.png", "mask.png"))
    assert torch.equal(cutout[..., 3], mask[..., 0]) and mask.std() > 0.05


def test_a_grey_photograph(tmp_path):
    assert main(["cut", str(DATA / "camera.jpg"), "-o", str(tmp_path / "cutout.png")]) == 0
    cutout, grey = (np.asarray(Image.open(file)) for file in (tmp_path / "cutout.png", DATA / "camera.jpg"))
    visible = cutout[..., 3] > 0
    assert (cutout[visible, :3] == grey[visible, None]).all()
    assert 0.1 < visible.mean() < 1 and cutout[..., 3].max() > 250
