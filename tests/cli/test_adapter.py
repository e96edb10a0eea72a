"""`--adapter`: what fine-tuning made, in every command that runs a network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import birefnet
from birefnet.__main__ import main
from birefnet.checkpoint import adapters
from birefnet.checkpoint.adapters import Adapter
from birefnet.imaging import pictures
from birefnet.training import low_rank


@pytest.fixture
def tuned(network, tmp_path) -> Path:
    """The file of an adapter that makes everything opaque: it adds to the bias of the logits."""
    path = tmp_path / "tuned" / "opaque:9.safetensors"  # a colon that is the name's own
    path.parent.mkdir()
    tensors = {"decoder.conv_out1.0.bias.diff": torch.tensor([8.0])}
    Adapter(low_rank.as_stored(tensors), adapters.make_metadata("head", network)).save(path)
    return path


def alpha(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


@pytest.mark.parametrize("strength, written", [(1.0, ""), (0.5, ":0.5"), (-2.0, ":-2")])
def test_cut_writes_what_the_network_with_it_finds(tmp_path, cut, photo, tiny, tuned, strength, written):
    result = cut(photo("a.png"), "-o", tmp_path / "mask.png", "--mask", "--adapter", f"{tuned}{written}")
    model = birefnet.load(tiny, adapters=[(tuned, strength)])
    expected = birefnet.matte(model, pictures.read(tmp_path / "a.png"))[0].numpy()
    assert result.status == 0 and "opaque:9.safetensors" in result.messages[0]
    assert np.abs(alpha(tmp_path / "mask.png") / 255 - expected).max() < 0.003


def test_several_add_up(tmp_path, cut, photo, tuned):
    cut(photo("a.png"), "-o", tmp_path / "none.png", "--mask")
    cut(tmp_path / "a.png", "-o", tmp_path / "one.png", "--mask", "--adapter", tuned)
    cut(tmp_path / "a.png", "-o", tmp_path / "both.png", "--mask", "--adapter", tuned, "--adapter",
        f"{tuned}:-1")
    none, one, both = (alpha(tmp_path / f"{name}.png").astype(int) for name in ("none", "one", "both"))
    assert np.abs(none - one).max() > 50 and np.abs(none - both).max() <= 1


def test_a_folder_begun_without_it_is_not_gone_on_with(tmp_path, cut, photo, tuned):
    photo("in/a.png")
    assert cut(tmp_path / "in", "-o", tmp_path / "out").status == 0
    result = cut(tmp_path / "in", "-o", tmp_path / "out", "--adapter", tuned)
    assert result.status == 1 and "started with other settings" in result.messages[-1]
    assert "adapters" in result.messages[-1]


@pytest.mark.slow
def test_eval_scores_the_network_with_it(tmp_path, photo, tiny, tuned, capsys, forked):
    photo("im/a.png")
    (tmp_path / "gt").mkdir()
    Image.new("L", (60, 40), 255).save(tmp_path / "gt" / "a.png")
    scores = {}
    for name, more in (("without", ()), ("with", ("--adapter", str(tuned)))):
        assert main(["eval", str(tmp_path), "--model", str(tiny), *more, "--json",
                     str(tmp_path / f"{name}.json"),
                     "--workers", "1"]) == 0
        scores[name] = json.loads((tmp_path / f"{name}.json").read_text())
    assert scores["with"]["mean"]["mse"] < 0.01 < scores["without"]["mean"]["mse"]
    name, sha256 = scores["with"]["adapters"][0].rsplit(" ", 1)
    assert name == "1 x opaque:9.safetensors" and sha256 == hashlib.sha256(tuned.read_bytes()).hexdigest()


@pytest.mark.parametrize("text", ["nothing.safetensors", "nothing.safetensors:0.5", ":1", "x:nan"])
def test_no_file_is_a_sentence(tmp_path, cut, photo, text, capsys):
    with pytest.raises(SystemExit, match="2"):
        cut(photo("a.png"), "-o", tmp_path / "mask.png", "--adapter", text)
    assert "expected FILE or FILE:STRENGTH" in capsys.readouterr().err


def test_a_checkpoint_is_no_adapter(tmp_path, cut, photo, tiny):
    result = cut(photo("a.png"), "-o", tmp_path / "mask.png", "--adapter", tiny)
    assert result.status == 1 and "not an adapter" in result.messages[-1].lower()
