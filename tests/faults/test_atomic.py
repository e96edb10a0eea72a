"""`birefnet.files.atomic`: what a killed process leaves is taken away by the next, and nobody's work is taken
from him."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from disk import names

from birefnet.files import atomic as whole
from birefnet.files.atomic import atomic_write

ROOT = Path(__file__).resolve().parents[2]
DIES = """
import os, sys
from pathlib import Path
from birefnet.files.atomic import atomic_write

with atomic_write(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as part:
    (part.path / "1.png" if part.path.is_dir() else part.path).write_bytes(b"half")
    if sys.argv[3] == "linked":  # killed between the two steps of giving a file its name
        os.link(part.path, part.target)
    os.kill(os.getpid(), 9)
"""


def die(target: Path, kind: str = "file", when: str = "") -> None:
    assert subprocess.run([sys.executable, "-c", DIES, str(target), kind, when], cwd=ROOT).returncode == -9


def make(target: Path, content: bytes = b"whole", **options: bool) -> None:
    with atomic_write(target) as part:
        part.path.write_bytes(content)
        part.keep(**options)


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("then", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, kind, then):
    target = tmp_path / "a.png"
    die(target, kind)
    assert len(names(tmp_path)) == 1 and not target.exists()
    with atomic_write(target, folder=then == "folder") as part:
        (part.path / "1.png" if part.path.is_dir() else part.path).write_bytes(b"whole")
        part.keep()
    assert names(tmp_path) == ["a.png"]
    assert names(target) == ["1.png"] if then == "folder" else target.read_bytes() == b"whole"


def test_a_hundred_killed_processes_leave_one_part(tmp_path):
    for _ in range(3):
        die(tmp_path / "a.png")
    assert len(names(tmp_path)) == 1


def test_a_finished_file_is_safe_from_the_next_ones_cleaning(tmp_path):
    """A part that was linked to its name and not yet unlinked is the very file."""
    die(tmp_path / "a.png", when="linked")
    with atomic_write(tmp_path / "a.png") as part:
        part.path.write_bytes(b"new")
        assert (tmp_path / "a.png").read_bytes() == b"half"
        with pytest.raises(FileExistsError):
            part.keep(new=True)
    assert names(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == b"half"


def test_two_at_once_do_not_meet(tmp_path):
    with atomic_write(tmp_path / "a") as outer, atomic_write(tmp_path / "a") as inner:
        assert inner.path != outer.path
        inner.path.write_bytes(b"inner")
        outer.path.write_bytes(b"outer")
        outer.keep()
        inner.keep()
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"inner"


def test_whoever_is_done_leaves_the_next_ones_part_alone(tmp_path):
    with contextlib.ExitStack() as until_the_first_is_gone:
        first = until_the_first_is_gone.enter_context(atomic_write(tmp_path / "a"))
        first.keep()
        with atomic_write(tmp_path / "a") as second:
            assert second.path == first.path
            second.path.write_bytes(b"second")
            until_the_first_is_gone.close()
            second.keep()
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"second"


@pytest.mark.parametrize("locks", [True, False])
def test_many_at_once_leave_one_whole_file(tmp_path, monkeypatch, locks):
    if not locks:
        monkeypatch.setattr(whole, "fcntl", None)
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for _ in range(30):
            make(tmp_path / "a", bytes([number]) * 5000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    content = (tmp_path / "a").read_bytes()
    assert len(content) == 5000 and len(set(content)) == 1 and names(tmp_path) == ["a"]


def test_where_locks_do_not_work_nothing_is_left(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(whole.fcntl, "flock", none)
    make(tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_an_error_leaves_nothing_and_no_descriptor(tmp_path):
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a") as part:
            part.path.write_bytes(b"half")
            raise KeyboardInterrupt
        make(tmp_path / "b")
    assert names(tmp_path) == ["b"] and len(os.listdir("/proc/self/fd")) == opened


def test_a_name_as_long_as_names_may_be(tmp_path):
    make(tmp_path / ("ä" * 125 + ".png"))
    assert len(names(tmp_path)) == 1


def test_without_hard_links_a_moved_part_is_not_removed_again(tmp_path, monkeypatch):
    def refuse(*paths):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with atomic_write(tmp_path / "a.png") as part:
        part.path.write_bytes(b"whole")
        part.keep(new=True)
        part.path.write_bytes(b"another process's")
    assert part.path.read_bytes() == b"another process's" and (tmp_path / "a.png").read_bytes() == b"whole"
