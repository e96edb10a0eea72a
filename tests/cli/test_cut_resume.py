"""`cut` into a folder: stopped, killed, and started again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from birefnet.cli.cut import progress
from birefnet.matting import predict as inference

ROOT = Path(__file__).parents[2]


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Grows by one with each pass through the network."""
    seen: list[int] = []
    compute = inference.network_alpha

    def network_alpha(model, x):
        seen.append(len(x))
        return compute(model, x)

    monkeypatch.setattr(inference, "network_alpha", network_alpha)
    return seen


def test_the_same_command_goes_on_where_it_was(tmp_path, cut, photo, passes, monkeypatch):
    for name in "abc":
        photo(f"in/{name}.png")

    def stop(self, failed):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.Progress, "count", stop)
        assert cut(tmp_path / "in", "-o", tmp_path / "out").status == 130
    photo("in/d.png")
    result = cut(tmp_path / "in", "-o", tmp_path / "out")
    assert result.messages[-1] == f"4 of 4 written to {tmp_path / 'out'}, 1 of them before"
    assert result.status == 0 and len(passes) == 4
    assert cut(tmp_path / "in", "-o", tmp_path / "out").messages == [
        f"4 of 4 written to {tmp_path / 'out'}, 4 of them before"]


def test_from_another_folder_it_is_the_same_command(tmp_path, cut, photo, passes, monkeypatch):
    photo("in/a.png")
    monkeypatch.chdir(tmp_path)
    cut("in", "-o", "out")
    monkeypatch.chdir(tmp_path / "in")
    assert cut(".", "-o", "../out").messages[-1] == "1 of 1 written to ../out, 1 of them before"
    assert len(passes) == 1


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path, tiny, photo, reading):
    """It is killed while the fourth of six pictures, a pipe, is being read: three results are written, two to
    come."""
    sources = [photo(f"in/{number}.png", size=(600, 600)) for number in range(6)]
    late, out = sources[3], tmp_path / "out"
    content = late.read_bytes()
    late.unlink()
    os.mkfifo(late)
    (tmp_path / "list.txt").write_text("".join(f"{source}\n" for source in sources))
    command = [sys.executable, "-m", "birefnet", "cut", "--list", str(tmp_path / "list.txt"), "-o", str(out),
               "--model",
               str(tiny)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process, reading(late, process):
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert sorted(path.name for path in before) == ["0.png", "1.png", "2.png"]
    late.unlink()
    late.write_bytes(content)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == f"6 of 6 written to {out}, 3 of them before"
    assert {path: path.stat().st_mtime_ns for path in before} == before and len(list(out.glob("*.png"))) == 6


def test_other_settings_are_refused_unless_forced(tmp_path, cut, photo, passes):
    photo("in/a.png")
    cut(tmp_path / "in", "-o", tmp_path / "out")
    before = (tmp_path / "out" / "a.png").read_bytes()
    refused = cut(tmp_path / "in", "-o", tmp_path / "out", "--mask", "--size", "96")
    assert refused == (1, [f"error: {tmp_path / 'out'}: was started with other settings (size None, now 96, "
                           "mask False, now True); take another OUT, or --force to start over"])
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    assert cut(tmp_path / "in", "-o", tmp_path / "out", "--mask", "--size", "96", "--force").status == 0
    assert (tmp_path / "out" / "a.png").read_bytes() != before and len(passes) == 2


def test_another_checkpoint_under_the_same_name_is_another_setting(tmp_path, cut, photo):
    photo("in/a.png")
    cut(tmp_path / "in", "-o", tmp_path / "out", model="birefnet-nano")
    assert "model birefnet-nano.safetensors, now tiny" in cut(tmp_path / "in", "-o",
                                                              tmp_path / "out").messages[0]


def test_a_forced_run_that_was_stopped_goes_on_and_does_not_begin_anew(tmp_path, cut, photo, passes,
                                                                       monkeypatch):
    """Results that an earlier run left are replaced once, and each of them."""
    for name in "abc":
        photo(f"in/{name}.png")
    cut(tmp_path / "in", "-o", tmp_path / "out")
    first = {path: path.stat().st_ino for path in (tmp_path / "out").glob("*.png")}
    counted = progress.Progress.count

    def stop_at_the_second(self, failed):
        counted(self, failed)
        if self.written == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.Progress, "count", stop_at_the_second)
        cut(tmp_path / "in", "-o", tmp_path / "out", "--force")
    assert sum(path.stat().st_ino != inode for path, inode in first.items()) == 2 and len(passes) == 5
    assert cut(tmp_path / "in", "-o", tmp_path / "out", "--force").messages[-1].endswith("2 of them before")
    assert all(path.stat().st_ino != inode for path, inode in first.items()) and len(passes) == 6
    cut(tmp_path / "in", "-o", tmp_path / "out", "--force")  # that one had come to its end: all anew
    assert len(passes) == 9


def test_a_result_that_was_removed_is_made_again(tmp_path, cut, photo, passes):
    photo("in/a.png"), photo("in/b.png")
    cut(tmp_path / "in", "-o", tmp_path / "out")
    (tmp_path / "out" / "a.png").unlink()
    assert cut(tmp_path / "in", "-o", tmp_path / "out").messages[-1].endswith("1 of them before")
    assert (tmp_path / "out" / "a.png").exists() and len(passes) == 3


def test_what_failed_is_reported_and_tried_again(tmp_path, cut, photo, passes):
    photo("in/a.png")
    (tmp_path / "in" / "b, c.png").write_text("not a picture")
    assert cut(tmp_path / "in", "-o", tmp_path / "out").status == 1
    with open(tmp_path / "out" / "_failed.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == str(tmp_path / "in" / "b, c.png") and row["reason"].startswith("expected a picture")
    photo("in/b, c.png")
    assert cut(tmp_path / "in", "-o", tmp_path / "out").status == 0
    assert not (tmp_path / "out" / "_failed.csv").exists() and len(passes) == 2


def test_what_was_changed_since_is_said_and_made_anew_once_its_result_is_gone(tmp_path, cut, photo, passes):
    for name in "abc":
        photo(f"in/{name}.png")
    cut(tmp_path / "in", "-o", tmp_path / "out")
    before = (tmp_path / "out" / "a.png").read_bytes()
    for name in "ab":
        photo(f"in/{name}.png", size=(64, 48))
        os.utime(tmp_path / "in" / f"{name}.png", (1e9, 1e9))  # an older photograph may take a name, too
    result = cut(tmp_path / "in", "-o", tmp_path / "out")
    assert result == (0, [f"2 changed since the result was made, such as {tmp_path}/in/a.png; remove a "
                          "result to have it made anew", f"3 of 3 written to {tmp_path / 'out'}, 3 of them "
                                                         "before"])
    assert (tmp_path / "out" / "a.png").read_bytes() == before and len(passes) == 3
    (tmp_path / "out" / "a.png").unlink(), (tmp_path / "out" / "b.png").unlink()
    cut(tmp_path / "in", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "a.png").read_bytes() != before and len(passes) == 5
    assert cut(tmp_path / "in", "-o", tmp_path / "out").messages == [
        f"3 of 3 written to {tmp_path / 'out'}, 3 of them before"]


def test_a_run_of_an_older_version_goes_on(tmp_path, cut, photo, passes):
    """Its plan does not say when a picture was changed, and has a shorter name."""
    photo("in/a.png"), photo("in/b.png")
    cut(tmp_path / "in", "-o", tmp_path / "out")
    (plan,) = (tmp_path / "out" / ".cut").glob("*.jsonl")
    lines = [json.loads(line)[:3] for line in plan.read_text().splitlines()]
    older = plan.with_name(f"{plan.name.partition('-')[0]}-ffffffff.jsonl")
    older.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    plan.unlink()
    (tmp_path / "out" / "b.png").unlink()
    photo("in/c.png")
    assert cut(tmp_path / "in", "-o", tmp_path / "out").messages[-1].startswith("3 of 3 written")
    assert cut(tmp_path / "in", "-o", tmp_path / "out").messages[-1].endswith("3 of them before")
    assert len(passes) == 4


def test_a_folder_whose_results_lie_in_it_goes_on(tmp_path, cut, photo, passes):
    photo("in/a.jpg")
    for _ in range(2):
        assert cut(tmp_path / "in", "-o", tmp_path / "in").status == 0
    photo("in/b.jpg")
    result = cut(tmp_path / "in", "-o", tmp_path / "in")
    assert result.messages[-1] == f"2 of 2 written to {tmp_path / 'in'}, 1 of them before"
    assert len(passes) == 2
    result = cut(tmp_path / "in" / "a.png", "-o", tmp_path / "in")  # named as an input, it is no result
    assert result.status == 1 and "is the result of" in result.messages[0]


def test_a_name_that_another_source_was_planned_for_is_refused(tmp_path, cut, photo):
    photo("one/a.png"), photo("two/a.png")
    cut(tmp_path / "one", "-o", tmp_path / "out")
    result = cut(tmp_path / "two", "-o", tmp_path / "out")
    assert result == (1, [f"{tmp_path}/two/a.png: {tmp_path}/out/a.png is the result of "
                          f"{tmp_path}/one/a.png; rename one of them"])


def test_a_damaged_manifest_is_one_sentence(tmp_path, cut, photo):
    photo("in/a.png")
    cut(tmp_path / "in", "-o", tmp_path / "out")
    (tmp_path / "out" / ".cut" / "state.json").write_text("{")
    result = cut(tmp_path / "in", "-o", tmp_path / "out")
    assert result.status == 1 and len(result.messages) == 1
    assert "remove the folder to start over" in result.messages[0]


def test_the_manifest_says_what_was_planned(tmp_path, cut, photo):
    source = photo("in/a.png")
    cut(tmp_path / "in", "-o", tmp_path / "out", "--background", "red")
    state = json.loads((tmp_path / "out" / ".cut" / "state.json").read_text())
    assert state["settings"]["background"] == "red" and state["finished"]
    (plan,) = (tmp_path / "out" / ".cut").glob("*.jsonl")
    assert [json.loads(line) for line in plan.read_text().splitlines()] == [
        [str(source), "a.png", "", source.stat().st_mtime_ns]]


def test_a_single_picture_leaves_no_manifest(tmp_path, cut, photo):
    cut(photo("a.png"), "-o", tmp_path / "b.png")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


def test_progress_in_a_log_is_a_line_now_and_then(monkeypatch, capsys):
    times = iter([0.0, 10.0, 60.0, 61.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with progress.Progress(300) as shown:
        for failed in (False, True, False):
            shown.count(failed)
    assert capsys.readouterr().err.splitlines() == ["2 of 300 pictures, 1 failed, 0.0/s, 2:29:00 left"]
