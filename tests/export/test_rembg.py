"""rembg cuts a photograph with our raw file, through its own session class.

rembg brings numba and LLVM, so the tests' requirements leave it out: `pip install rembg`, then this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from birefnet.__main__ import main

rembg = pytest.importorskip("rembg")

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.slow
def test_rembg_cuts_a_photograph(tmp_path, monkeypatch):
    assert main(["export", "birefnet-nano", "-o", str(tmp_path / "birefnet-general.onnx"), "--raw"]) == 0
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))  # where rembg looks before it downloads its own
    session = rembg.new_session("birefnet-general", providers=["CPUExecutionProvider"])
    mask = rembg.remove(Image.open(DATA / "figure.jpg"), session=session, only_mask=True)
    truth = Image.open(DATA / "figure_mask.png")
    found, known = (np.asarray(image.convert("L")) > 127 for image in (mask, truth))
    assert found.shape == known.shape
    assert (found & known).sum() > 0.9 * (found | known).sum()
