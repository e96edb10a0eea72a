"""Two processes on one machine, started by torchrun or accelerate and joined over gloo, learn what one does
from the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import birefnet
from birefnet.__main__ import main

ROOT = Path(__file__).parents[2]


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("launcher", [
    ["torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1",
     "--mixed_precision=no",
     "--dynamo_backend=no"],
], ids=["torchrun", "accelerate"])
def test_the_loss_curve_is_that_of_one_process(launcher, pairs, config, tmp_path):
    """Without dropout, which every process draws for itself, and batch norm, whose statistics are each one's
    own."""
    torch.manual_seed(0)
    plain = birefnet.BiRefNet(replace(config, attention="none", batch_norm=False)).initialize()
    birefnet.save(plain, tmp_path / "init.safetensors")
    arguments = ["train", pairs, "--init", tmp_path / "init.safetensors", "--batch", 4, "--rate", 1e-3,
                 "--dtype", "fp32",
                 "--steps", 6, "--hold-out", 0.3, "--workers", 0]
    arguments = [str(argument) for argument in arguments]
    assert main([*arguments, "-o", str(tmp_path / "one")]) == 0
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "birefnet", *arguments, "-o", str(tmp_path / "two")],
        cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for alone, together in zip(one, two):
        for group in ("terms", "measures"):
            assert together.get(group, {}) == pytest.approx(alone.get(group, {}), rel=2e-3, abs=2e-4)
    weights = [load_file(tmp_path / run / "trained.safetensors") for run in ("one", "two")]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor.float(), weights[1][name].float(), atol=1e-3), name
    assert done.stderr.count("written: ") == 1
