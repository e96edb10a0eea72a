"""More blocks, the same mattes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import birefnet
from birefnet.training.learner import Learner
from tools.nano.grow import grown

ROOT = Path(__file__).parents[3]


def test_a_deeper_network_begins_with_the_same_logits(tiny):
    model = birefnet.load(tiny, form="plain")
    deeper = grown(model, (1, 2, 4, 1)).eval()
    assert deeper.config.depths == (1, 2, 4, 1)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model.eval()(x), deeper(x))


def test_its_new_blocks_learn(tiny):
    deeper = grown(birefnet.load(tiny, form="plain"), (1, 1, 3, 1)).train()
    learner = Learner(deeper, 1e-3, dtype=torch.float32)
    torch.manual_seed(0)
    images, alphas = torch.rand(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).float()
    for _ in range(2):  # first what was zero, then what is before it
        before = {name: value.clone() for name, value in deeper.state_dict().items()}
        learner.learn(images, alphas)
    for layer in ("attn.proj", "mlp.fc2", "attn.q", "mlp.fc1"):
        name = f"bb.block3.2.{layer}.weight"
        assert not torch.equal(before[name], deeper.state_dict()[name]), name


def test_fewer_blocks_are_refused(tiny):
    with pytest.raises(ValueError, match=r"expected at least \(1, 1, 1, 1\) blocks a stage, got \(1, 0, 1, 1\)"):
        grown(birefnet.load(tiny, form="plain"), (1, 0, 1, 1))


def test_the_command_writes_a_checkpoint_that_loads(tmp_path):
    nano = ROOT / "weights" / "birefnet-nano.safetensors"
    subprocess.run([sys.executable, "-m", "tools.nano.grow", nano, tmp_path / "out.safetensors"], cwd=ROOT,
                   check=True)
    assert birefnet.load(tmp_path / "out.safetensors").config.depths == (2, 2, 6, 2)
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata()["birefnet.license"] == "GPL-3.0"
