"""`python -m birefnet fetch`, as typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import weights
from birefnet.__main__ import main

ROOT = Path(weights.__file__).parents[1]


@pytest.fixture
def fetch(hub):
    """Runs the command against the loopback hub."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "birefnet", "fetch", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=hub.environment(), capture_output=True, text=True)

    return run


def test_fetch_prints_where_the_checkpoint_is(hub, fetch, tmp_path):
    done = fetch("BiRefNet_lite", "--to", tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'BiRefNet_lite.safetensors'}\n"), done.stderr
    assert (tmp_path / "BiRefNet_lite.safetensors").read_bytes() == hub.content


def test_one_that_fails_does_not_keep_the_others_from_coming(fetch, tmp_path):
    done = fetch("no-such", "RMBG-2.0", "--to", tmp_path)
    assert done.returncode == 1
    assert "error: Choose a name of the catalog: 'no-such' is none of" in done.stderr
    assert "Traceback" not in done.stderr
    assert "RMBG-2.0 is for non-commercial use only (CC BY-NC 4.0)" in done.stderr
    assert (tmp_path / "RMBG-2.0.safetensors").is_file()


def test_what_is_here_under_another_name_is_not_fetched_again(hub, tmp_path, monkeypatch, capsys):
    (tmp_path / "General-Lite.safetensors").write_bytes(b"whatever the other pack put there")
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path,))
    assert main(["fetch", "BiRefNet_lite"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'General-Lite.safetensors'}\n"
    assert hub.asked == []


def test_list_shows_every_checkpoint_its_use_and_where_it_is(tmp_path, capsys):
    (tmp_path / "General-HR.safetensors").write_bytes(b"")
    assert main(["fetch", "--list", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(row.name in out and row.task in out and row.note in out for row in weights.CATALOG)
    assert "2560x1440" in out
    assert f"here: {tmp_path / 'General-HR.safetensors'}" in out


def test_without_a_name_it_says_what_it_wants(capsys):
    assert main(["fetch"]) == 2
    assert "--list" in capsys.readouterr().err
