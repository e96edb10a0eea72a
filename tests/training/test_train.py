"""`python -m birefnet train`: it learns, goes on to the same numbers, and leaves what it says it leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import birefnet
from birefnet.__main__ import main
from birefnet.cli.options import CommandError
from birefnet.cli.train.initial import load_initial
from birefnet.evaluation.scores import MEASURES
from birefnet.training.pair_batches import PairBatches

ROOT = Path(__file__).parents[2]
OPTIONS = ("--batch", 4, "--rate", 3e-3, "--dtype", "fp32", "--workers", 0)


def train(data: Path, run: Path, *arguments: object) -> int:
    return main(["train", str(data), "-o", str(run), *map(str, (*OPTIONS, *arguments))])


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def losses(run: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in history(run) if "loss" in row}


def assert_same_weights(run: Path, other: Path) -> None:
    one, two = (load_file(folder / "trained.safetensors") for folder in (run, other))
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.fixture(scope="module")
def trained(pairs, tiny, tmp_path_factory) -> Path:
    """30 steps on eight pairs, two held out."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    assert train(pairs, run, "--init", tiny, "--steps", 30, "--hold-out", 0.2) == 0
    return run


def test_the_loss_falls_before_and_in_the_final_phase(trained):
    terms = [row["terms"] for row in history(trained) if "loss" in row]
    assert ["bce" in step for step in terms] == [True] * 27 + [False] * 3
    for name in ("bce", "l1"):
        assert np.mean([step[name]
                        for step in terms[22:27]]) < 0.95 * np.mean([step[name] for step in terms[:5]])
    assert np.mean([step["l1"] for step in terms[27:]]) < 0.95 * np.mean([step["l1"] for step in terms[:5]])


def test_the_checkpoint_loads_by_itself_and_says_what_it_is(trained, config):
    model = birefnet.load(trained / "trained.safetensors")
    assert model.config.size == (64, 64) and model.config.task == "Anything"
    assert model.config.widths == config.widths
    assert birefnet.matte(model, torch.rand(1, 50, 70, 3)).shape == (1, 50, 70)
    with safe_open(trained / "trained.safetensors", "pt") as file:
        told = file.metadata()
    settings = json.loads((trained / "settings.json").read_text())
    assert told["birefnet.step"] == "30" and told["birefnet.data"] == settings["fingerprint"]
    assert told["birefnet.base"] == "tiny.safetensors"
    assert told["birefnet.command"].startswith("python -m birefnet ")
    assert told["birefnet.commit"] and told["birefnet.normalize"] == "imagenet"
    assert told["birefnet.heads"] == "1,1,2,2"


def test_measures_are_the_evaluations(trained, pairs, capsys, tmp_path, forked):
    """The last row is what `eval` says of the checkpoint on the pictures held out."""
    rows = [row for row in history(trained) if "measures" in row]
    assert [row["step"] for row in rows] == [0, *range(3, 31, 3)]
    assert all(row["measures"].keys() == set(MEASURES) for row in rows)
    checked = json.loads((trained / "checked.json").read_text())
    assert len(checked) == 10
    rng = np.random.default_rng([0, 3])
    for index in rng.permutation(10)[:2]:
        for part in ("im", "gt"):
            (tmp_path / part).mkdir(exist_ok=True)
            shutil.copy(pairs / part / f"{index:02}.png", tmp_path / part)
    assert main(["eval", str(tmp_path), "--model", str(trained / "trained.safetensors"), "--json",
                 str(tmp_path / "eval.json"), "--workers", "1"]) == 0
    means = json.loads((tmp_path / "eval.json").read_text())["mean"]
    for name in ("mae", "s_measure", "weighted_f", "iou"):
        assert rows[-1]["measures"][name] == pytest.approx(means[name], abs=1e-4), name


def test_tensorboard_can_show_it(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained), size_guidance={"images": 0, "scalars": 0}).Reload()
    tags = events.Tags()
    assert {"loss/total", "loss/bce", "loss/gradient", "rate", "validation/mae"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("loss/total")] == list(range(1, 31))
    shown = {event.step: event.value for event in events.Scalars("loss/total")}
    assert shown == pytest.approx(losses(trained), rel=1e-5)
    strips = events.Images("mattes")
    assert [strip.step for strip in strips] == [0, *range(3, 31, 3)]
    assert (strips[0].width, strips[0].height) == (3 * 192, 2 * 192)


def test_the_report_is_one_file_with_curves_and_mattes(trained):
    page = (trained / "report.html").read_text()
    assert "Step 30 of 30" in page and page.count("<svg") == 1 + 5 + len(MEASURES)
    assert page.count("data:image/jpeg;base64,") == 8  # picture, truth, six steps
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page
    last = [row for row in history(trained) if "measures" in row][-1]["measures"]["mae"]
    assert f"{last:.4g}" in page


def test_a_run_stopped_half_way_ends_in_the_same_numbers(trained, pairs, tiny, tmp_path, monkeypatch, capsys):
    """Stopped as by Ctrl-C in the middle of an epoch; dropout, optimiser and averaged weights go on."""
    item, count = PairBatches.item, 0

    def item_with_interrupt(self, step):
        nonlocal count
        count += 1
        if count == 13:
            signal.raise_signal(signal.SIGINT)
        return item(self, step)

    monkeypatch.setattr(PairBatches, "item", item_with_interrupt)
    arguments = ("--init", tiny, "--steps", 30, "--hold-out", 0.2)
    assert train(pairs, tmp_path / "run", *arguments) == 130
    assert "interrupted" in capsys.readouterr().err and max(losses(tmp_path / "run")) == 13
    assert train(pairs, tmp_path / "run", *arguments) == 0 and count == 30
    assert_same_weights(trained, tmp_path / "run")
    assert losses(tmp_path / "run") == losses(trained)


def test_a_kill_at_any_moment_leaves_whole_files_to_go_on_from(trained, pairs, tiny, tmp_path):
    run = tmp_path / "run"
    arguments = ["--init", tiny, "--steps", 30, "--hold-out", 0.2, "--save-every", 1]
    command = [sys.executable, "-m", "birefnet", "train", pairs, "-o", run, *OPTIONS, *arguments]
    # as here: sums are added in another order by others
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT, stderr=subprocess.DEVNULL,
                               env=os.environ | threads)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and (
            not (run / "history.jsonl").exists()
            or (run / "history.jsonl").read_bytes().count(b'"loss"') < 4):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 3 <= torch.load(run / "state.pt", weights_only=True)["step"] < 30
    birefnet.load(run / "trained.safetensors")
    assert train(pairs, run, *arguments) == 0 and not list(run.rglob("*.part"))
    assert_same_weights(trained, run)
    assert losses(run) == losses(trained)


def test_other_settings_do_not_go_on_with_a_run(trained, pairs, tiny, capsys):
    before = (trained / "state.pt").read_bytes()
    assert train(pairs, trained, "--init", tiny, "--steps", 40, "--hold-out", 0.2) == 1
    assert "holds a run with others (steps was 30, now 40)" in capsys.readouterr().err
    assert (trained / "state.pt").read_bytes() == before


@pytest.mark.parametrize("name", ["state.pt", "settings.json"])
def test_a_damaged_run_is_one_sentence(trained, pairs, tiny, tmp_path, capsys, name):
    file = shutil.copytree(trained, tmp_path / "run") / name
    file.write_bytes(file.read_bytes()[:200])
    assert train(pairs, file.parent, "--init", tiny, "--steps", 30, "--hold-out", 0.2) == 1
    assert f"start over: {file} is damaged" in capsys.readouterr().err


def test_a_run_that_cannot_be_made_is_one_sentence(pairs, tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(pairs, tmp_path / "file" / "run", "--init", tiny, "--steps", 1) == 1
    assert f"error: {tmp_path / 'file'}" in capsys.readouterr().err


def test_a_run_of_a_version_with_other_settings_goes_on(trained, pairs, tiny, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    settings = json.loads((run / "settings.json").read_text()) | {"echo": 1}
    del settings["accumulate"]
    (run / "settings.json").write_text(json.dumps(settings))
    assert train(pairs, run, "--init", tiny, "--steps", 30, "--hold-out", 0.2) == 0
    assert_same_weights(trained, run)


def test_bad_data_stop_the_run_before_it_begins_and_can_be_left_out(pairs, tiny, tmp_path, capsys):
    data = shutil.copytree(pairs, tmp_path / "data")
    (data / "gt/03.png").unlink()
    Image.new("L", (9, 9)).save(data / "gt/05.png")
    assert train(data, tmp_path / "run", "--init", tiny, "--steps", 1) == 1
    messages = capsys.readouterr().err.splitlines()
    assert "the mask is 9×9" in messages[0]
    assert messages[1].endswith("im/03.png: there is no mask of the same name")
    assert messages[2].endswith("2 files cannot be used; fix them, or leave them out with --skip-bad")
    assert not (tmp_path / "run/state.pt").exists()
    assert train(data, tmp_path / "run", "--init", tiny, "--steps", 1, "--skip-bad", "--hold-out", 0.25) == 0
    settings = json.loads((tmp_path / "run/settings.json").read_text())
    assert (settings["pictures"], settings["held_out"]) == (6, 2)


def test_pictures_without_a_subject_are_learnt_from_and_counted(pairs, tiny, tmp_path, capsys):
    data = shutil.copytree(pairs, tmp_path / "data")
    for name in ("03", "05"):
        Image.new("L", Image.open(data / f"gt/{name}.png").size).save(data / f"gt/{name}.png")
    assert train(data, tmp_path / "run", "--init", tiny, "--steps", 3, "--hold-out", 0.4) == 0
    assert f"{data}: 2 of 10 masks are empty: pictures without a subject" in capsys.readouterr().err
    numbers = [value for row in history(tmp_path / "run") for value in row.get("measures", {}).values()]
    assert numbers and np.isfinite([*losses(tmp_path / "run").values(), *numbers]).all()
    for path in (data / "gt").iterdir():
        Image.new("L", Image.open(path).size).save(path)
    assert train(data, tmp_path / "other", "--init", tiny, "--steps", 3) == 1
    assert "all 10 masks are empty: there is no subject to learn" in capsys.readouterr().err


def test_a_file_that_goes_bad_during_the_run_is_named(pairs, tiny, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(pairs, tmp_path / "data")
    monkeypatch.setattr("birefnet.training.engine.Log.measure",
                        lambda log: [path.unlink() for path in data.glob("im/*")])
    assert train(data, tmp_path / "run", "--init", tiny, "--steps", 3, "--workers", 1) == 1
    assert re.fullmatch(r"error: .*/im/\d\d\.png: there is no such file", capsys.readouterr().err.strip())


def test_many_options_at_once(pairs, tiny, tmp_path):
    """For another task, by phases, in bf16, in pieces, recomputed, over new backgrounds, measured on other
    pictures."""
    status = train(pairs, tmp_path / "run", "--init", tiny, "--task", "matting", "--epochs", 1,
                   "--phase", "64:0.5", "--phase", "64-96:0.5", "--dtype", "bf16", "--accumulate", 2,
                   "--recompute",
                   "--backgrounds", pairs / "im", "--validate", pairs, "--average", 0, "--cosine",
                   "--warm-up", 1,
                   "--augment", "flip,crop", "--no-dropout")
    assert status == 0 and len(losses(tmp_path / "run")) == 3  # ten pictures in batches of four
    model = birefnet.load(tmp_path / "run/trained.safetensors")
    assert model.config.size is None and model.config.task.startswith("Hair")
    assert torch.load(tmp_path / "run/state.pt", weights_only=True)["average"] is None
    assert all("iou" not in row["terms"] for row in history(tmp_path / "run") if "loss" in row)


@pytest.mark.parametrize("options, share", [((), 0.5), (("--no-dropout",), 0.0)])
def test_dropout_is_the_authors_unless_asked_otherwise(pairs, tiny, tmp_path, monkeypatch, options, share):
    """The included checkpoint's build never has it: it was made without."""
    seen = []
    monkeypatch.setattr("birefnet.cli.train.work.run_engine", lambda run, plan, model, *_, **__: seen.append(
        {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}))
    assert train(pairs, tmp_path / "run", "--init", tiny, "--steps", 1, *options) == 0
    assert train(pairs, tmp_path / "other", "--steps", 1, *options) == 0
    assert seen == [{share}, {0.0}]


def test_a_checkpoint_without_the_heads_of_training_gets_them(pairs, config, tmp_path):
    from dataclasses import replace

    torch.manual_seed(1)
    bare = birefnet.BiRefNet(replace(config, supervision=False)).initialize()
    birefnet.save(bare, tmp_path / "bare.safetensors")
    assert train(pairs, tmp_path / "run", "--init", tmp_path / "bare.safetensors", "--steps", 1) == 0
    assert birefnet.load(tmp_path / "run/trained.safetensors").config.supervision


def test_a_runs_checkpoint_hands_on_its_licence(pairs, tmp_path):
    for run, init in (("one", "birefnet-nano"), ("two", tmp_path / "one" / "trained.safetensors")):
        assert train(pairs, tmp_path / run, "--init", init, "--steps", 1, "--size", 64) == 0
        with safe_open(tmp_path / run / "trained.safetensors", "pt") as file:
            assert file.metadata()["birefnet.license"] == "Apache-2.0"
            assert file.metadata()["birefnet.base"] == Path(init).name


def test_a_network_on_an_encoder_of_timm_begins_with_what_that_has_learnt(pairs, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(3)
    whole = timm.create_model("resnet10t")  # with a classifier, as timm's files are
    torch.save(whole.state_dict(), tmp_path / "resnet10t.pth")
    begun = load_initial("scratch", "timm:resnet10t", 0, str(tmp_path / "resnet10t.pth"))
    assert torch.equal(begun.model.bb.layer4[0].conv1.weight, whole.layer4[0].conv1.weight)
    scratch = ("--init", "scratch", "--build", "timm:resnet10t", "--encoder", tmp_path / "resnet10t.pth")
    assert train(pairs, tmp_path / "run", *scratch, "--steps", 1, "--batch", 2, "--size", 64, "--hold-out",
                 0.2) == 0
    model = birefnet.load(tmp_path / "run/trained.safetensors")
    assert model.config.backbone == "resnet10t" and model.config.size == (64, 64)
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "other.pth")
    with pytest.raises(CommandError, match="timm .* cannot build the encoder resnet10t"):
        load_initial("scratch", "timm:resnet10t", 0, str(tmp_path / "other.pth"))


@pytest.mark.parametrize("arguments, message", [
    (["--init", "scratch"], "--init scratch needs --build: nano, swin_v1_t"),
    (["--init", "scratch", "--build", "resnet"], "--build resnet: expected nano, swin_v1_t"),
    (["--build", "swin_v1_t"], "is for --init scratch"),
    (["--encoder", "hub"], "--encoder hub is for --init scratch"),
    (["--init", "scratch", "--build", "swin_v1_t", "--encoder", "hub"], "--encoder hub is for --build "
                                                                        "timm:NAME"),
    (["--init", "scratch", "--build", "timm:resnet10t", "--encoder", "gone.pth"], "--encoder gone.pth: no "
                                                                                  "such file"),
    (["--init", "scratch", "--build", "timm:"], "Name one of timm's models after timm:"),
    (["--init", "scratch", "--build", "timm:nothing_of_the_kind"], "has no model 'nothing_of_the_kind'"),
    (["--init", "nowhere.safetensors"], "nowhere.safetensors"),
    (["--phase", "64:0.5", "--phase", "96:0.4"], "add up to 0.9; expected 1"),
    (["--hold-out", "0.99"], "nothing would be left of 10 pictures"),
    (["--backgrounds", "gone"], "--backgrounds gone: no pictures found there"),
])
def test_mistakes_are_one_sentence(pairs, tmp_path, capsys, arguments, message):
    assert train(pairs, tmp_path / "run", "--steps", 1, *arguments) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1] and told[-1].startswith("error: ") and "Traceback" not in told[-1]


def test_muon_is_there_for_any_run_where_timm_has_it(pairs, tmp_path, capsys, monkeypatch):
    assert train(pairs, tmp_path / "run", "--steps", 2, "--size", 64, "--optimizer", "muon") == 0
    assert json.loads((tmp_path / "run/settings.json").read_text())["optimizer"] == "muon"
    monkeypatch.delattr("timm.optim.Muon")
    assert train(pairs, tmp_path / "other", "--steps", 2, "--size", 64, "--optimizer", "muon") == 1
    assert 'error: Install timm for the optimiser muon: pip install "timm>=' in capsys.readouterr().err


@pytest.mark.parametrize("arguments",
                         [["--size", "500"], ["--augment", "flop"], ["--batch", "0"], ["--rate", "-1"],
                                       ["--hold-out", "1"], ["--phase", "64"], ["--task", "portraits"]])
def test_wrong_usage_is_told_before_anything_is_read(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(["train", str(tmp_path / "nowhere"), "-o", str(tmp_path / "run"), *arguments])
    assert stop.value.code == 2 and arguments[0] in capsys.readouterr().err
