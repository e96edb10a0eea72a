"""`cut --engine ray`: the plain engine's files, whatever is killed meanwhile. One cluster serves all."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow
import pyarrow.parquet

from birefnet.cli.cut.cluster import in_rounds
from birefnet.cli.cut.manifest import Job

ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def processes(stage: str) -> list[psutil.Process]:
    """The cluster's processes that are at a stage."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            command = process.cmdline()
            if command and command[0].startswith("ray::") and stage in command[0]:
                found.append(process)
    return found


def has_open(process: psutil.Process, path: Path) -> bool:
    with contextlib.suppress(OSError):  # it has just ended, or closes something
        return any(os.path.samefile(entry, path) for entry in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


def wait_for(condition: Callable[[], object], seconds: float = 240) -> object:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


class When:
    """Inside a `with`, in a thread that ends with it: does something with what a condition gives, as soon as
    it gives something, and again where `again`; `times` says how often."""

    def __init__(self, condition: Callable[[], object], act: Callable[[object], None],
                 again: bool = False) -> None:
        self.condition, self.act, self.again, self.times = condition, act, again, 0
        self.over, self.thread = threading.Event(), threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self.over.wait(0.02):
            found = self.condition()
            if not found:
                continue
            with contextlib.suppress(psutil.Error):  # it has just ended by itself
                self.act(found)
                self.times += 1
                if not self.again:
                    return

    def __enter__(self) -> When:
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()


def test_both_engines_write_the_same_files(tmp_path, cut, photos, cluster):
    folder = photos("in", 40)
    (folder / "bad.jpg").write_text("not a picture")
    plain, ray = (cut(folder, "-o", tmp_path / engine, "--engine", engine) for engine in ("plain", "ray"))
    assert plain.status == ray.status == 1
    assert len(contents(tmp_path / "ray")) == 40
    assert contents(tmp_path / "ray") == contents(tmp_path / "plain")
    assert ray.messages[-1] == f"40 of 41 written to {tmp_path / 'ray'}"
    assert "on 2 x 1 cores, reading and writing on 2 more, machines: 2" in ray.messages[0]
    for engine in ("plain", "ray"):
        with open(tmp_path / engine / "_failed.csv", newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        assert row["file"] == str(folder / "bad.jpg") and row["reason"].startswith("expected a picture")


def test_from_a_store_into_a_store(tmp_path, cut, photos, cluster, store):
    """A Parquet list in the store names pictures in it, and one here."""
    folder = photos("in", 6)
    for path in sorted(folder.iterdir())[:5]:
        store.put_file(str(path), f"shop/photos/{path.name}")
    here = sorted(folder.iterdir())[5]
    paths = [*(f"s3://shop/photos/{number:04}.jpg" for number in range(5)), str(here),
             "s3://shop/photos/gone.jpg"]
    pyarrow.parquet.write_table(pyarrow.table({"path": paths, "price": range(7)}), tmp_path / "list.parquet")
    store.put_file(str(tmp_path / "list.parquet"), "shop/list.parquet")
    result = cut("--list", "s3://shop/list.parquet", "-o", "s3://shop/cutouts", "--engine", "ray")
    assert result.status == 1 and "s3://shop/photos/gone.jpg: there is no such file" in result.messages
    cut(folder, "-o", tmp_path / "plain")
    expected = contents(tmp_path / "plain")
    assert {name: store.cat_file(f"shop/cutouts/{name}") for name in expected} == expected
    failed = store.cat_file("shop/cutouts/_failed.csv").decode()
    assert "s3://shop/photos/gone.jpg,there is no such file" in failed
    again = cut("--list", "s3://shop/list.parquet", "-o", "s3://shop/cutouts")  # either engine goes on
    assert again.messages[-1] == "6 of 7 written to s3://shop/cutouts, 6 of them before"


def test_killed_workers_cost_nothing_but_time(tmp_path, cut, photos, cluster):
    """One at each stage of the way."""
    folder = photos("in", 64, size=(700, 500))
    stages = ("_read", "_Matte", "_finish")
    with contextlib.ExitStack() as stack:
        killings = [stack.enter_context(When(lambda stage=stage: processes(stage),
                                             lambda found: found[0].kill()))
                    for stage in stages]
        result = cut(folder, "-o", tmp_path / "ray", "--engine", "ray")
    assert [killing.times for killing in killings] == [1, 1, 1]
    assert (result.status, len(contents(tmp_path / "ray"))) == (0, 64)


def test_a_picture_that_kills_its_process_takes_no_other_with_it(tmp_path, cut, photos, cluster,
                                                                 monkeypatch):
    """A pipe among the photographs: whoever opens it is killed, each time that Ray tries again."""
    monkeypatch.setattr("birefnet.cli.cut.cluster.MAX_RETRIES", 1)  # for each of them starts a process
    folder = photos("in", 11)
    pipe = folder / "pipe.jpg"
    os.mkfifo(pipe)
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in sorted(folder.iterdir())))

    def readers() -> list[psutil.Process]:
        return [process for process in processes("_read") if has_open(process, pipe)]

    def kill(found: list[psutil.Process]) -> None:
        found[0].kill()
        found[0].wait(30)

    with open(pipe, "rb+", buffering=0):  # a writer, so that opening it for reading does not wait
        with When(readers, kill, again=True) as killing:
            result = cut("--list", tmp_path / "list.txt", "-o", tmp_path / "ray", "--engine", "ray")
    assert (result.status, len(contents(tmp_path / "ray"))) == (1, 11)
    died = "its process died; a damaged picture, or not enough memory"
    assert f"{pipe}: {died}" in result.messages
    assert killing.times >= 2  # with the others, and alone


def test_what_came_of_nothing_goes_round_once_more_one_by_one():
    """The third of eight ends every process that looks at it, with all that it has in its hands."""
    jobs, asked = [Job(f"{name}.jpg", f"{name}.png") for name in "abcdefgh"], []

    def one_round(left: list[int], batch: int):
        asked.append((left, batch))
        for start in range(0, len(left), batch):
            if 2 not in (some := left[start:start + batch]):
                yield from ((index, "", False) for index in some)

    outcomes = list(in_rounds(jobs, 4, one_round))
    assert asked == [(list(range(8)), 4), ([0, 1, 2, 3], 1)]
    assert [outcome.job.source for outcome in outcomes
            if not outcome.error] == [f"{name}.jpg" for name in "efghabd"]
    assert [outcome.error for outcome in outcomes if outcome.error] == [
        "c.jpg: its process died; a damaged picture, or not enough memory"]


def test_a_killed_driver_goes_on_where_it_was(tmp_path, cut, photos, cluster):
    """It is killed while the last of three batches waits for a pipe in it."""
    folder, out = photos("in", 40), tmp_path / "out"
    sources = sorted(folder.iterdir())
    content = sources[-1].read_bytes()
    sources[-1].unlink()
    os.mkfifo(sources[-1])
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in sources))
    listed = ("--list", tmp_path / "list.txt")
    command = [sys.executable, "-m", "birefnet", "cut", *listed, "-o", out, "--size", "64", "--engine", "ray",
               "--address", cluster.address]
    with open(sources[-1], "rb+", buffering=0):  # a writer that writes nothing
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as driver:
            wait_for(lambda: out.exists() and contents(out))
            driver.send_signal(signal.SIGKILL)
        time.sleep(1)  # Ray ends the dead driver's workers
    written = {path: os.stat(path).st_mtime_ns for path in out.glob("*.png")}
    assert 0 < len(written) <= 32
    sources[-1].unlink()
    sources[-1].write_bytes(content)
    result = cut(*listed, "-o", out, "--engine", "ray")
    assert result.status == 0 and result.messages[-1].startswith(f"40 of 40 written to {out}")
    assert {path: os.stat(path).st_mtime_ns for path in written} == written
    cut(*listed, "-o", tmp_path / "plain")
    assert contents(out) == contents(tmp_path / "plain")


def test_a_killed_machine_costs_nothing_but_time(tmp_path, cut, photos, cluster):
    import ray  # after the fixture has set what it reads

    folder = photos("in", 64, size=(700, 500))
    third = cluster.add_node(num_cpus=2, object_store_memory=200 << 20)
    cluster.wait_for_nodes(timeout=240)
    with When(lambda: contents(tmp_path / "ray"),
              lambda _: cluster.remove_node(third, allow_graceful=False)) as killing:
        result = cut(folder, "-o", tmp_path / "ray", "--engine", "ray")
    assert killing.times == 1 and (result.status, len(contents(tmp_path / "ray"))) == (0, 64)
    wait_for(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)
