"""`python -m birefnet eval` over data sets on disk: what is found, scored, written, and taken up again."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import BLOBS, blob
from PIL import Image

import birefnet
import weights
from birefnet.__main__ import main
from birefnet.data.pairs import DataError, find_pairs
from birefnet.data.read import read_grey
from birefnet.evaluation.scores import Means, score

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("forked")  # its workers, where the command runs in this process


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def data(tmp_path) -> Path:
    """Five pictures with truths, and mattes for them in `pred`."""
    for number in range(len(BLOBS)):
        prediction, truth = blob(number)
        write(tmp_path / f"data/im/{number}.jpg", np.repeat(prediction[..., None], 3, 2))
        write(tmp_path / f"data/gt/{number}.png", truth)
        write(tmp_path / f"pred/{number}.png", prediction)
    return tmp_path / "data"


def evaluate(data: Path, *arguments: object) -> int:
    return main(["eval", str(data), "--workers", "1", *map(str, arguments)])


def test_saved_mattes_get_the_measures_means(data, tmp_path, capsys):
    report = tmp_path / "scores.json"
    assert evaluate(data, "--pred", tmp_path / "pred", "--json", report) == 0
    means = Means()
    for number in range(len(BLOBS)):
        prediction, truth = blob(number)
        means.add(score(prediction / 255, truth / 255))
    found = json.loads(report.read_text())
    assert found["mean"] == pytest.approx(means.values())
    assert found["pictures"] == len(BLOBS)
    rows = list(csv.DictReader(report.with_suffix(".csv").open()))
    assert [row["name"] for row in rows] == [str(number) for number in range(len(BLOBS))]
    assert float(rows[2]["mae"]) == pytest.approx(found["each"]["2"]["mae"], rel=1e-5)
    assert f"{found['mean']['s_measure']:.4f}" in capsys.readouterr().out
    assert not report.with_suffix(".journal").exists()


def test_the_sheet_shows_the_worst_first(data, tmp_path):
    write(tmp_path / "pred/3.png", 255 - blob(3)[1])  # the opposite of the truth
    report = tmp_path / "scores.json"
    evaluate(data, "--pred", tmp_path / "pred", "--json", report)
    with Image.open(report.with_suffix(".jpg")) as sheet:
        height, width = blob(3)[1].shape
        size = (round(320 * width / height), 320)
        place = 2 * (size[0] + 4)
        shown = np.asarray(sheet.convert("L"))[22:22 + size[1], place:place + size[0]]
    with Image.open(tmp_path / "pred/3.png") as matte:
        expected = np.asarray(matte.resize(size), np.float64)
    assert np.abs(shown - expected).mean() < 12


def test_a_checkpoint_is_scored(data, tmp_path):
    report = tmp_path / "scores.json"
    assert evaluate(data, "--size", 64, "--json", report) == 0
    assert json.loads(report.read_text())["model"] == "birefnet-nano"


def test_cutouts_are_scored_by_their_alpha(data, tmp_path):
    """As `cut` leaves them: the same numbers as from the mattes."""
    for number in range(len(BLOBS)):
        matte = Image.fromarray(blob(number)[0])
        cutout = Image.new("RGB", matte.size, (200, 30, 90))
        cutout.putalpha(matte)
        cutout.save(tmp_path / f"{number}.png")
    means = []
    for folder in (tmp_path / "pred", tmp_path):
        assert evaluate(data, "--pred", folder, "--json", tmp_path / "scores.json") == 0
        means.append(json.loads((tmp_path / "scores.json").read_text())["mean"])
    assert means[0] == means[1]


@pytest.mark.parametrize("part", ["gt", "trimap"])
def test_truths_and_trimaps_with_transparency_are_named(data, tmp_path, capsys, part):
    write(data / f"{part}/1.png", np.full((*blob(1)[1].shape, 4), 128, np.uint8))
    report = tmp_path / "scores.json"
    assert evaluate(data, "--pred", tmp_path / "pred", "--json", report) == 1
    assert list(json.loads(report.read_text())["each"]) == [*"0234"]
    assert f"{part}/1.png: expected grey levels, got transparency" in capsys.readouterr().err


def test_mattes_of_a_damaged_photograph_are_scored_and_its_place_on_the_sheet_is_grey(data, tmp_path, capsys):
    for path in (data / "im").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    report = tmp_path / "scores.json"
    assert evaluate(data, "--pred", tmp_path / "pred", "--json", report) == 0
    out, errors = capsys.readouterr()
    assert out.startswith(f"{len(BLOBS)} pictures\n") and out.endswith("scores.csv, scores.jpg\n")
    assert errors.count("it is not on the sheet of the worst cases") == len(BLOBS)
    assert all(f"im/{number}.jpg: " in errors for number in range(len(BLOBS)))
    with Image.open(report.with_suffix(".jpg")) as sheet:
        assert np.ptp(np.asarray(sheet.convert("L"))[40:100, 20:60]) < 5


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names")
def test_names_that_are_not_utf_8_are_written_as_they_are(data, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    for path in (data / "im/3.jpg", data / "gt/3.png", tmp_path / "pred/3.png"):
        path.rename(path.with_stem(name))
    (tmp_path / "pred/1.png").unlink()  # so that a second run takes up the first one's journal
    command = [sys.executable, "-m", "birefnet", "eval", data, "--pred", tmp_path / "pred", "--workers", "1",
               "--json", tmp_path / f"{name}.json"]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                              env={**os.environ, "LC_ALL": "C.UTF-8"})
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "caf\\udce9.json" in done.stdout.splitlines()[-1]
        rows = (tmp_path / f"{name}.csv").read_bytes().splitlines()
        assert [row.split(b",")[0] for row in rows[1:]] == [b"0", b"2", b"4", b"caf\xe9"]
        assert list(json.loads((tmp_path / f"{name}.json").read_text())["each"]) == ["0", "2", "4", name]


@pytest.mark.parametrize("name, message", [
    ("r.csv", "expected a file name that ends in .json, got r.csv"),
    (".", "expected a file name that ends in .json, got ."),
    ("folder.json", "expected a file name, and folder.json is a folder"),
    ("beside.json", "expected a file name, and beside.jpg is a folder"),
])
def test_a_report_that_could_not_be_written_is_refused_at_the_start(tmp_path, monkeypatch, capsys, name,
                                                                    message):
    monkeypatch.chdir(tmp_path)
    for folder in ("folder.json", "beside.jpg"):
        (tmp_path / folder).mkdir()
    with pytest.raises(SystemExit, match="2"):
        evaluate(tmp_path / "nowhere", "--json", name)
    assert message in capsys.readouterr().err


def test_what_cannot_be_read_is_reported_and_the_rest_is_scored(data, tmp_path, capsys):
    (tmp_path / "pred/1.png").write_bytes(b"not a picture")
    (tmp_path / "pred/2.png").unlink()
    report = tmp_path / "scores.json"
    assert evaluate(data, "--pred", tmp_path / "pred", "--json", report) == 1
    assert json.loads(report.read_text())["pictures"] == 3
    messages = capsys.readouterr().err
    assert "1.png: expected a picture" in messages and "2: no matte of that name" in messages


def test_mattes_of_another_size_are_resized(data, tmp_path):
    with Image.open(tmp_path / "pred/3.png") as matte:
        matte.resize((128, 128), Image.Resampling.BILINEAR).save(tmp_path / "pred/3.png")
    report = tmp_path / "scores.json"
    assert evaluate(data, "--pred", tmp_path / "pred", "--json", report) == 0
    assert json.loads(report.read_text())["each"]["3"]["iou"] > 0.2


def test_mattes_that_were_made_anew_are_scored_anew(data, tmp_path):
    """A picture that cannot be scored keeps the journal, in which the scores of the old mattes stand."""
    (tmp_path / "pred/1.png").unlink()
    report, scores = tmp_path / "scores.json", []
    for prediction in (blob(3)[0], 255 - blob(3)[1]):
        write(tmp_path / "pred/3.png", prediction)
        assert evaluate(data, "--pred", tmp_path / "pred", "--json", report) == 1
        scores.append(json.loads(report.read_text())["each"]["3"]["iou"])
    assert scores[0] > 0.2 and scores[1] == 0


@pytest.mark.parametrize("file", ["gt/3.png", "trimap/3.png", "im/3.jpg"])
def test_only_pictures_whose_files_have_changed_are_scored_anew(data, tmp_path, monkeypatch, file):
    """As above. A trimap changes the matting measures, a photograph only what a checkpoint makes of it."""
    (tmp_path / "pred/1.png").unlink()
    write(data / "trimap/3.png", np.full(blob(3)[1].shape, 128, np.uint8))
    report, scores, read = tmp_path / "scores.json", [], []
    monkeypatch.setattr("birefnet.data.read.read_matte",
                        lambda path: read.append(path.stem) or read_grey(path))
    for _ in range(2):
        assert evaluate(data, "--pred", tmp_path / "pred", "--json", report) == 1
        scores.append(json.loads(report.read_text())["each"])
        write(data / file, np.repeat(blob(3)[1][..., None], 3, 2) // 2)
    assert read == [*"0234", *shown(scores[0]), "3", *shown(scores[1])]
    assert (scores[0]["3"] != scores[1]["3"]) == (file != "im/3.jpg")
    assert [scores[0][name] == scores[1][name] for name in "024"] == [True] * 3


def shown(scores: dict[str, dict[str, float]]) -> list[str]:
    """In the order of the sheet, for which mattes are read once more."""
    return sorted(scores, key=lambda name: scores[name]["weighted_f"])


def test_a_checkpoint_that_was_trained_on_is_another(data, tmp_path):
    report, (file, other) = tmp_path / "scores.json", (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    (data / "im/1.jpg").write_bytes(b"not a picture")
    shutil.copy(weights.NANO, file)
    model = birefnet.load(file, form="plain")
    assert evaluate(data, "--model", file, "--size", 64, "--json", report) == 1
    torch.nn.init.constant_(model.decoder.conv_out1[0].bias, 99.0)  # white, whatever else it says
    birefnet.save(model, other)
    other.replace(file)
    assert evaluate(data, "--model", file, "--size", 64, "--json", report) == 1
    assert json.loads(report.read_text())["mean"]["mae"] > 0.5


def test_options_that_would_do_nothing_are_refused(data, tmp_path, capsys):
    assert evaluate(data, "--pred", tmp_path / "pred", "--size", 64, "--dtype", "fp32") == 1
    assert "--pred scores mattes as they are: --size, --dtype would do nothing" in capsys.readouterr().err


def test_the_sheet_shows_photographs_upright(data, tmp_path):
    """One on its side, of a bright upper half, as EXIF orientation 6 tells."""
    upright = np.zeros((60, 40, 3), np.uint8)
    upright[:30] = 255
    lying = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(data / "im/turned.jpg", exif=exif, quality=95)
    mask = np.zeros((60, 40), np.uint8)
    mask[:30] = 255
    write(data / "gt/turned.png", mask)
    write(tmp_path / "pred/turned.png", 255 - mask)
    report = tmp_path / "scores.json"
    evaluate(data, "--pred", tmp_path / "pred", "--json", report)
    with Image.open(report.with_suffix(".jpg")) as sheet:
        photograph = np.asarray(sheet.convert("L"))[22:22 + 320, :213]
    assert photograph[:150].mean() > 250 and photograph[170:].mean() < 5


def test_a_killed_run_goes_on_where_it_was(data, tmp_path, reading):
    """The journal of a killed run is taken up: pictures in it are not predicted again. It is killed while it
    reads a matte, a pipe, in the middle."""
    for number in range(40):
        prediction, truth = blob(number % len(BLOBS))
        write(data / f"im/many{number:02}.png", prediction)
        write(data / f"gt/many{number:02}.png", truth)
        write(tmp_path / f"pred/many{number:02}.png", prediction)
    late = tmp_path / "pred/many20.png"
    content = late.read_bytes()
    late.unlink()
    os.mkfifo(late)
    report = tmp_path / "scores.json"
    command = [sys.executable, "-m", "birefnet", "eval", str(data), "--pred", str(tmp_path / "pred"),
               "--json",
               str(report), "--workers", "1"]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    journal = report.with_suffix(".journal")
    with reading(late, running):
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    late.unlink()
    late.write_bytes(content)
    with journal.open("a") as lines:
        lines.write('{"name": "half a li')
    kept = [json.loads(line)["name"].split()[0] for line in journal.read_text().splitlines()[1:-1]]
    assert 20 <= len(kept) <= 25
    for name in kept:
        (tmp_path / f"pred/{name}.png").unlink()  # would fail if it were asked for again, but for the sheet
    from birefnet.evaluation.run import evaluate as run

    settings, asked = json.loads(journal.read_text().splitlines()[0]), []

    def predict(pair):
        asked.append(pair.name)
        with Image.open(tmp_path / f"pred/{pair.name}.png") as matte:
            return np.asarray(matte) / 255

    results = dict((pair.name, result)
                   for pair, result in run(find_pairs(data), predict, journal, settings, 1))
    assert len(results) == 45 and not [result for result in results.values() if isinstance(result, Exception)]
    assert set(asked) == set(results) - set(kept)


def test_a_worker_imports_no_pytorch():
    """It only computes measures, and there is one on each core."""
    script = "import sys, birefnet.evaluation.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("folders",
                         [("im", "gt"), ("original_image", "mask"), ("Image", "GT_Object"), ("imgs", "GT")])
def test_published_layouts_are_known(tmp_path, folders):
    for part in folders:
        write(tmp_path / f"P3M-500-NP/{part}/p_1.png", np.zeros((4, 4), np.uint8))
    (pair,) = find_pairs(tmp_path)
    assert pair.name == "P3M-500-NP/p_1" and pair.picture.parent.name == folders[0]
    assert find_pairs(tmp_path / "P3M-500-NP")[0].name == "p_1"


def test_what_macos_puts_beside_pictures_is_none(tmp_path):
    for name in ("set/im/a.png", "set/gt/a.png", "set/im/._a.png", "set/gt/._a.png", "__MACOSX/set/im/a.png",
                 "__MACOSX/set/gt/a.png", ".Trashes/im/b.png", ".Trashes/gt/b.png"):
        write(tmp_path / ".hidden above" / name, np.zeros((4, 4), np.uint8))
    assert [pair.name for pair in find_pairs(tmp_path / ".hidden above")] == ["set/a"]


def test_a_trimaps_unknown_band_is_where_matting_errors_count(tmp_path):
    truth = np.zeros((40, 40), np.uint8)
    truth[:, 20:] = 255
    trimap = np.where(np.abs(np.arange(40) - 20) < 5, 128, truth).astype(np.uint8)
    write(tmp_path / "data/im/a.png", truth)
    write(tmp_path / "data/gt/a.png", truth)
    write(tmp_path / "data/trimap/a.png", trimap)
    write(tmp_path / "pred/a.png", np.full((40, 40), 255, np.uint8))
    report = tmp_path / "scores.json"
    assert evaluate(tmp_path / "data", "--pred", tmp_path / "pred", "--json", report) == 0
    assert json.loads(report.read_text())["mean"]["sad"] == pytest.approx(40 * 4 / 1000)  # columns 16 to 19


def test_data_without_truths_are_refused(tmp_path, capsys):
    assert evaluate(tmp_path) == 1
    assert "expected folders im/ and gt/" in capsys.readouterr().err
    write(tmp_path / "im/lonely.png", np.zeros((4, 4), np.uint8))
    write(tmp_path / "gt/other.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="no mask of the same name for lonely.png"):
        find_pairs(tmp_path)


def test_pictures_that_share_a_mask_are_refused(tmp_path):
    """Both would be scored under one name."""
    for name in ("im/a.jpg", "im/a.b.png", "im/a.png", "gt/a.png", "gt/a.b.png"):
        write(tmp_path / "set" / name, np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"set.im: a\.jpg and a\.png share the mask a\.png; keep one of them"):
        find_pairs(tmp_path)
