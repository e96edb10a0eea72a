"""`python -m birefnet export`: the file, its description, and one sentence for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest

import birefnet
from birefnet.__main__ import main


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """The file of a network without deformable convolutions."""
    config = birefnet.Config(family="pvt_v2", widths=(8, 16, 40, 64), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8),
                             mlp_ratios=(2, 2, 2, 2), multi_scale="none", attention="none", inner=8, branch=8,
                             patch_inner=8, size=(64, 64))
    path = tmp_path_factory.mktemp("checkpoints") / "small.safetensors"
    birefnet.save(birefnet.BiRefNet(config).initialize().eval(), path, {"birefnet.license": "CC BY-NC 4.0"})
    return path


def export(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


def test_a_file_and_its_description(small, tmp_path, capsys):
    file = tmp_path / "made" / "small.onnx"
    assert export(small, "-o", file, "--size", 96, "--portable") == 0
    out, told = capsys.readouterr(), json.loads(file.with_suffix(".json").read_text())
    assert out.out.startswith(f"{file}: ") and "largest" in out.err
    assert told["size"] == {"height": 96, "width": 96} and told["opset"] == 17
    assert told["source"]["model"] == small.name and len(told["source"]["sha256"]) == 64
    assert sorted(path.name for path in file.parent.iterdir()) == ["small.json", "small.onnx"]
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 96, 96]


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--size", 100), "error: Choose a size of multiples of 32, from 64 up, such as 96x96; got 100x100"),
    (("--raw", "--any-size"), "error: Choose --raw or --any-size: the network alone does not resize"),
])
def test_options_that_cannot_be(small, tmp_path, capsys, arguments, sentence):
    assert export(small, "-o", tmp_path / "a.onnx", *arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1] == sentence
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_is_none(tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"")
    assert export(other, "-o", tmp_path / "a.onnx") == 1
    assert capsys.readouterr().err.strip() == f"error: Download or copy it again: {other}: the file is empty"


def test_a_place_that_cannot_be_written(small, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert export(small, "-o", tmp_path / "file" / "a.onnx", "--portable") == 1
    assert "cannot be written" in capsys.readouterr().err.splitlines()[-1]


def test_a_name_that_is_no_onnx_file(small, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export(small, "-o", tmp_path / "a.pt")
    assert "ends in .onnx" in capsys.readouterr().err
