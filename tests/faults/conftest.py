"""A tiny checkpoint, pictures for it, and what the tests of faults share."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import birefnet

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "host")]  # starving, killing, disk; host, floor, workflow

TINY = dict(family="pvt_v2", widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2),
            multi_scale="none",
            kernels=(3,), inner=8, branch=8, patch_inner=4, gate=4, size=(64, 64))
TINY_SWIN = dict(family="swin_v1", widths=(16, 32, 64, 128), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8),
                 kernels=(1, 3),
                 inner=8, branch=8, patch_inner=8, size=(64, 64))


def checkpoint(path: Path, config: dict) -> Path:
    """A file of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        birefnet.save(birefnet.BiRefNet(birefnet.Config(**config)).initialize().eval(), path)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors", TINY)


@pytest.fixture(scope="session")
def tiny_swin(tmp_path_factory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("checkpoints") / "swin.safetensors", TINY_SWIN)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of three pictures of blobs of colour."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        blobs = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(blobs).resize((60, 40), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """The weights' tests' hub on loopback, and a server that starts commands which fetch from it."""
    from killing import Server

    spec = importlib.util.spec_from_file_location("weights_hub", HERE.parent / "weights" / "conftest.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.serving(tmp_path_factory.mktemp("home")) as hub, \
            Server(tmp_path_factory.mktemp("server") / "log", **hub.environment()) as server:
        yield hub, server, dataclasses.asdict(hub)


@pytest.fixture
def hub(running):
    """As it is when it behaves."""
    state, _, usual = running
    for name, value in usual.items():
        setattr(state, name, copy.copy(value))
    return state


@pytest.fixture
def server(running):
    return running[1]


@pytest.fixture(scope="session")
def faulty_host(tiny, tiny_swin, tmp_path_factory):
    """A running ComfyUI with the nodes of `fault_nodes` and two tiny checkpoints."""
    from floor import comfyui
    from host import Host

    home, python = comfyui()
    base = tmp_path_factory.mktemp("comfyui")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "fault_nodes").symlink_to(HERE / "fault_nodes", target_is_directory=True)
    (base / "models" / "BiRefNet").mkdir(parents=True)
    for file in (tiny, tiny_swin):
        (base / "models" / "BiRefNet" / file.name).write_bytes(file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        # two threads that wait for each other are slow on a busy machine
        patch.setenv("OMP_NUM_THREADS", "1")
        with Host(home, base, python) as running:
            yield running
