"""`python -m tools.bench`: it runs, what it counts is right, and what it compares agrees. No time is
judged."""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path

import pytest

import birefnet
from birefnet.network import builds as published
from tools.bench import builds
from tools.bench.__main__ import main
from tools.bench.authors import make_config_class
from tools.bench.contender import Contender

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A function that runs `bench` and returns its exit status and its JSON."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: object) -> tuple[int, dict]:
        status = main(["--device", "cpu", *map(str, arguments), "--json", str(tmp_path / "bench.json")])
        return status, json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))

    return run


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What has the shape of the authors' repository; its network is the plain form, built as its Config
    says."""
    files = {
        "config.py": """
            class Config:
                def __init__(self):
                    self.bb, self.lateral_channels_in_collection = "swin_v1_l", [3072, 1536, 768, 384]
            """,
        "models/birefnet.py": """
            import birefnet
            from config import Config

            class BiRefNet(birefnet.BiRefNet):
                def __init__(self, bb_pretrained):
                    assert not bb_pretrained
                    channels = Config().lateral_channels_in_collection
                    widths = tuple(number // 2 for number in reversed(channels))
                    super().__init__(birefnet.Config("swin_v1", widths, (1, 1, 1, 1), (1, 2, 4, 8),
                                                     kernels=(1, 3), inner=8, branch=8, patch_inner=8))

                def forward(self, image):
                    return [None, super().forward(image)]
            """,
    }
    for name, text in files.items():
        (tmp_path / "authors" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "authors" / name).write_text(textwrap.dedent(text))
    return tmp_path / "authors"


def test_all_forms_are_measured_and_agree(bench, tiny, checkout, capsys):
    status, found = bench("--model", tiny, "--sizes", "96x64", "--runs", 2, "--reference", checkout)
    assert status == 0
    (contest,) = found["contests"]
    assert contest["size"] == [64, 96]
    assert [row["form"] for row in contest["rows"]] == ["authors", "plain", "inference"]
    for row in contest["rows"]:
        assert "error" not in row and len(row["passes"]) == 2 and row["difference"] < 1e-5
        assert row["peak"] > 10e6 and math.isclose(row["times"],
                                                   contest["rows"][0]["seconds"] / row["seconds"])
        floor = contest["operations"] / contest["rates"]["fp32"]
        assert math.isclose(row["floor"], floor / row["seconds"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("birefnet ") and " 96x64: " in printed[2]
    assert [line.split()[1] for line in printed[-3:]] == ["authors", "plain", "inference"]
    assert len({line.count("|") for line in printed[-5:]}) == len({len(line) for line in printed[-5:]}) == 1


def test_other_runtimes_run_the_exported_network(bench, tiny):
    status, found = bench("--model", tiny, "--sizes", "96x64", "--runs", 1, "--runtimes", "onnxruntime",
                          "ort-portable")
    rows = {row["form"]: row for row in found["contests"][0]["rows"]}
    assert status == 0 and list(rows) == ["plain", "inference", "onnxruntime", "ort-portable"]
    assert all("error" not in row and row["difference"] < 1e-4 and row["peak"] > 10e6
               for row in rows.values())
    assert rows["onnxruntime"]["peak"] < rows["plain"]["peak"]  # there is no PyTorch in its process


def test_a_video_is_measured(bench, tiny):
    status, found = bench("--model", tiny, "--sizes", 64, "--frames", 3)
    (video,) = found["videos"]
    assert status == 0 and video["size"] == [64, 64] and video["frames"] == 3 and video["rate"] > 0
    assert 10e6 < video["settled"] <= video["peak"] and video["end"] <= video["peak"]


def test_a_contender_that_cannot_run_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    job = {"file": str(tmp_path / "nothing.safetensors"), "defaults": {}, "form": "plain", "dtype": "fp32",
           "device": "cpu", "size": (64, 64)}
    contender = Contender(job)
    assert contender.step() == {} and contender.median() is None
    assert contender.error.startswith("FileNotFoundError: ") and "nothing.safetensors" in contender.error
    contender.end()


@pytest.mark.parametrize("backbone, operations", [("swin_v1_l", 2.53e12), ("swin_v1_t", 0.64e12)])
def test_operations_are_those_of_the_authors_graph(backbone, operations):
    """Counted independently on the authors' code, deformable convolutions as their matrix products."""
    assert math.isclose(builds.operations(published.config(backbone), (1024, 1024)), operations, rel_tol=0.01)


@pytest.mark.parametrize("backbone", published.BACKBONES)
def test_builds_by_name_are_the_authors(backbone):
    assert published.config(backbone).backbone == backbone


def test_the_authors_config_becomes_the_checkpoints():
    class Theirs:
        def __init__(self) -> None:
            self.bb, self.dec_att, self.batch_size = "swin_v1_l", "ASPPDeformable", 8

    build = birefnet.Config("pvt_v2", (64, 128, 320, 512), (3, 4, 6, 3), (1, 2, 5, 8), multi_scale="none",
                            attention="plain", residual=True, batch_norm=False)
    mine = make_config_class(Theirs, build)()
    assert (mine.bb, mine.mul_scl_ipt, mine.dec_att, mine.dec_blk, mine.batch_size) == (
        "pvt_v2_b2", "", "ASPP", "ResBlk", 1)
    assert mine.lateral_channels_in_collection == [512, 320, 128, 64] and mine.cxt == [64, 128, 320]


@pytest.mark.parametrize("arguments, message", [
    (["--model", "nothing-such"], "No checkpoint"),
    (["--reference", "tests"], "expected a checkout of the authors' repository"),
    (["--json", "nowhere/bench.json"], "there is no folder nowhere"),
])
def test_mistakes_are_one_line(monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(ROOT)
    assert main([*arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error


@pytest.mark.parametrize("arguments",
                         [["--runs", "0"], ["--runs", "-1"], ["--frames", "1"], ["--frames", "two"]])
def test_too_few_passes_are_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code == 2 and "or more, got" in capsys.readouterr().err
