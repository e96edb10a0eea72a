"""What README says can be pasted, run and found."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from PIL import Image

import birefnet
import weights
from birefnet.__main__ import main
from birefnet.checkpoint import adapters
from birefnet.checkpoint.adapters import Adapter

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """An empty folder, the working directory, in which README's relative paths lead to this repository."""
    for name in ("tests", "weights"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_block_cuts_a_photograph(clone):
    """Its last line, run here; its other lines make the environment that this test runs in."""
    line = blocks("sh")[0].strip().splitlines()[-1]
    assert line.startswith("python -m birefnet cut ")
    assert main(line.split()[3:]) == 0
    assert Image.open(clone / "cutout.png").mode == "RGBA"


def test_the_second_block_runs_these_tests():
    assert blocks("sh")[1].strip().endswith("python -m pytest -n 2")


def test_the_python_example_runs(clone, capsys):
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert Image.open(clone / "cutout-python.png").mode == "RGBA"
    assert re.search(r"\d+% of the picture", capsys.readouterr().out)


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) > 5
    headings = {f"#{heading.lower().replace(' ', '-')}" for heading in re.findall(r"^#+ (.+)$", README, re.MULTILINE)}
    assert [target for target in targets if target not in headings and not (ROOT / unquote(target)).is_file()] == []


def test_the_usage_line_names_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["cut", "--help"])
    line = next(line for line in README.splitlines() if "birefnet cut IN..." in line)
    offered = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help", "--out"}
    assert set(re.findall(r"--[a-z]+", line)) == offered


EXAMPLES = re.findall(r"^\| `(cut .*?)` \|", README, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_command_line_run(tmp_path, monkeypatch, photo, tiny, example):
    assert len(EXAMPLES) > 5
    for name in ("photo.jpg", "beach.jpg", "holiday/a.jpg", "holiday/deeper/b.jpg"):
        photo(name)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "BiRefNet.safetensors").write_bytes(tiny.read_bytes())
    nano = birefnet.load(ROOT / "weights" / "birefnet-nano.safetensors", form="plain")
    Adapter({"decoder.conv_out1.0.bias.diff": torch.ones(1)}, adapters.about("head", nano)).save(
        tmp_path / "cracks.safetensors")
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path / "models",))
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(example)
    assert main(arguments) == 0
    assert Path(arguments[arguments.index("-o") + 1]).exists()


@pytest.mark.parametrize("row", weights.CATALOG, ids=lambda row: row.name)
def test_the_table_has_every_checkpoint_as_the_catalog_does(row):
    (line,) = [line for line in README.splitlines() if line.startswith(f"| `{row.name}` |")]
    _, task, size, download, licence = (cell.strip() for cell in line.strip("|").split("|"))
    sides = row.size if isinstance(row.size, tuple) else (row.size,)
    assert task == row.task
    assert size == ("the photograph's" if row.size == "dynamic" else "×".join(map(str, reversed(sides))))
    assert download == ("included" if row.repo is None else f"{row.megabytes} MB")
    assert licence == row.license + (": **non-commercial**" if row.non_commercial else "")
