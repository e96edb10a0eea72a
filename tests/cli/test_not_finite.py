"""A checkpoint with a tensor that is no number: every command says so, and none writes an empty picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import birefnet
from birefnet.__main__ import main

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "video"))  # clips

from clips import pictures, write  # noqa: E402

SENTENCE = "Load another copy of the checkpoint"


@pytest.fixture
def damaged(tiny, tmp_path) -> Path:
    state = load_file(tiny)
    state["bb.layers.0.blocks.0.attn.proj.weight"][0, 0] = torch.nan
    save_file(state, tmp_path / "damaged.safetensors")
    return tmp_path / "damaged.safetensors"


def test_cut(damaged, cut, photo, tmp_path):
    source = photo("a.png")
    result = cut(source, "-o", tmp_path / "b.png", "--size", "64", model=damaged)
    assert result.status == 1 and not (tmp_path / "b.png").exists()
    assert any(line.startswith(f"{source}: {SENTENCE}") for line in result.messages)
    assert result.messages[-1].startswith("0 of 1 written")


def test_video(damaged, tmp_path, capsys):
    clip = write(tmp_path / "in.mp4", pictures(3))
    out = tmp_path / "out.mp4"
    assert main(["video", str(clip), "-o", str(out), "--mask", "--size", "64", "--model", str(damaged)]) == 1
    assert f"error: {SENTENCE}" in capsys.readouterr().err and not out.exists()


def test_eval(damaged, photo, tmp_path, capsys):
    photo("data/im/a.png"), photo("data/gt/a.png")
    status = main(["eval", str(tmp_path / "data"), "--model", str(damaged), "--size", "64", "--json",
                   str(tmp_path / "report.json")])
    assert status == 1 and f"a: {SENTENCE}" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()


def test_export(tmp_path, capsys):
    """The file would be as empty as the network, and so agree with it."""
    config = birefnet.Config(family="pvt_v2", widths=(8, 16, 40, 64), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8),
                             mlp_ratios=(2, 2, 2, 2), multi_scale="none", attention="none", inner=8, branch=8,
                             patch_inner=8, size=(64, 64))
    network = birefnet.BiRefNet(config).initialize().eval()
    with torch.no_grad():
        next(network.bb.parameters()).view(-1)[0] = torch.nan
    birefnet.save(network, tmp_path / "damaged.safetensors")
    out = tmp_path / "a.onnx"
    assert main(["export", str(tmp_path / "damaged.safetensors"), "-o", str(out), "--size", "96",
                 "--portable"]) == 1
    assert f"error: {SENTENCE}" in capsys.readouterr().err and not out.exists()
