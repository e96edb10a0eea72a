"""Fetching, cutting, matting a video, saving, evaluating and training, killed at random moments.

The usual run kills each a few times; `KILLS=200 python -m pytest tests/faults/test_killed.py -s` each 200
times.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from given import clip
from killing import kill_again_and_again, listed, read_checkpoint
from PIL import Image
from safetensors.torch import load_file

KILLS = int(os.environ.get("KILLS", 6))
HERE = Path(__file__).resolve().parent


def told(what: str, killed) -> None:
    print(f"{what}: {killed.hits} kills hit, {killed.missed} came too late, {len(killed.states)} different "
          "folders left")
    assert killed.hits


def test_fetch(server, hub, tmp_path):
    def finished() -> None:
        assert [path.name for path in listed(tmp_path)] == ["BiRefNet.safetensors"]
        assert (tmp_path / "BiRefNet.safetensors").read_bytes() == hub.content

    hub.seconds_per_mb = 0.01  # a third of a second for the file
    told("fetch",
         kill_again_and_again(server, {"run": ["fetch", "BiRefNet", "--to", str(tmp_path)]}, tmp_path, KILLS,
                                       finished=finished))


def test_cut(server, tiny, photos, tmp_path):
    """The pictures that were there already are refused, or known from a manifest, but none is half."""
    out = tmp_path / "out"
    out.mkdir()

    def finished() -> None:
        assert [path.name for path in listed(out) if path.suffix == ".png"] == ["0.png", "1.png", "2.png"]
        said = [line for line in server.log.read_text().splitlines() if "exists" not in line
                and "written" not in line]
        assert not any("Traceback" in line or "cannot" in line for line in said), said

    order = {"run": ["cut", str(photos), "-o", str(out), "--model", str(tiny), "--dtype", "fp32"]}
    told("cut", kill_again_and_again(server, order, out, KILLS, finished=finished, codes=(0, 1)))


@pytest.mark.parametrize("name", ["a.webm", "a.mp4", "folder"])
def test_video(server, tiny, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    with Image.open(HERE.parent / "data" / "chelsea.jpg") as photo:
        clip(tmp_path / "in.mp4", photo.convert("RGB"), frames=6, size=(96, 72))
    look = ["--background", "green"] if name == "a.mp4" else []
    order = {"run": ["video", str(tmp_path / "in.mp4"), "-o", str(out / name), "--model", str(tiny),
                     "--dtype", "fp32",
                     *look]}

    def finished() -> None:
        if name == "folder":
            assert [path.name for path in listed(out)] == [f"{i:05}.png" for i in range(1, 7)]
            return
        assert [path.name for path in listed(out)] == [name]
        with av.open(str(out / name)) as container:
            assert len(list(container.decode(video=0))) == 6

    told(name, kill_again_and_again(server, order, out, KILLS, finished=finished))


def test_save(server, tiny, tmp_path):
    order = {"save": str(tmp_path / "a.safetensors"), "of": str(tiny), "times": 5}

    def finished() -> None:
        read_checkpoint(tmp_path / "a.safetensors")
        assert len(listed(tmp_path)) == 1

    told("save", kill_again_and_again(server, order, tmp_path, KILLS, finished=finished))


def test_eval(server, tmp_path):
    """Its worker processes end with it, too."""
    square = np.zeros((48, 64), np.uint8)
    square[12:36, 16:48] = 255
    for number in range(12):
        for part in ("data/im", "data/gt", "pred"):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(square).save(tmp_path / part / f"{number}.png")
    out = tmp_path / "out"
    out.mkdir()
    order = {"run": ["eval", str(tmp_path / "data"), "--pred", str(tmp_path / "pred"), "--workers", "1",
                     "--json",
                     str(out / "scores.json")]}

    def finished() -> None:
        assert [path.name for path in listed(out)] == ["scores.csv", "scores.jpg", "scores.json"]
        assert json.loads((out / "scores.json").read_text())["pictures"] == 12

    told("eval", kill_again_and_again(server, order, out, KILLS, finished=finished, each=3))


def test_train(server, tiny, tmp_path):
    """Killed and taken up again, it ends with the numbers of a run that was left alone."""
    for number in range(4):
        colour = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
        for part, pixels in (("im", colour), ("gt", (colour[..., 0] > 127).astype(np.uint8) * 255)):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(
                tmp_path / "data" / part / f"{number}.png")
    out, alone = tmp_path / "out", []
    out.mkdir()
    order = {"run": ["train", str(tmp_path / "data"), "-o", str(out), "--init", str(tiny), "--size", "64",
                     "--steps", "8",
                     "--batch", "2", "--workers", "0", "--save-every", "2", "--dtype", "fp32"]}

    def finished() -> None:
        found = load_file(out / "trained.safetensors")  # its header's order varies
        alone.append(found)
        assert found.keys() == alone[0].keys() and all(torch.equal(found[name], alone[0][name])
                                                       for name in found)

    told("train", kill_again_and_again(server, order, out, KILLS, finished=finished, each=3))
