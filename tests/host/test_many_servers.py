"""`example_workflows/api`: one photograph through one server's HTTP API, as job runners call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

API = Path(__file__).parents[2] / "example_workflows" / "api"
PHOTO = Path(__file__).parents[1] / "data" / "chelsea.jpg"


def one_picture(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, API / "one_picture.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_photograph_comes_back_as_its_cutout(host, tmp_path):
    server = host.address.removeprefix("http://")
    done = one_picture(server, PHOTO, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    workflow = json.loads((API / "remove-background.json").read_text())
    workflow["photo"]["inputs"]["image"] = host.upload(PHOTO)
    (expected,) = host.pictures(host.run(workflow))["result"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["chelsea.png"]
    found = Image.open(tmp_path / "out" / "chelsea.png")
    assert found.mode == "RGBA" and np.array_equal(np.asarray(found), np.asarray(expected))


def test_without_a_server_it_ends_at_once(tmp_path):
    done = one_picture("", PHOTO, tmp_path / "out")
    assert done.returncode == 1 and "expected the server's HOST:PORT" in done.stderr


def test_what_the_server_says_is_passed_on(host, tmp_path):
    server = host.address.removeprefix("http://")
    (tmp_path / "bad.jpg").write_text("not a picture")
    done = one_picture(server, tmp_path / "bad.jpg", tmp_path / "out")
    assert done.returncode == 1 and done.stderr.startswith(f"{server}: cannot identify image file")
    assert not (tmp_path / "out").exists()
