"""`python -m birefnet` as a whole."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import birefnet
from birefnet.__main__ import main

fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))

ROOT = Path(__file__).parents[2]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "birefnet", *map(str, arguments)]


def test_without_a_command_it_prints_help(capsys):
    assert main([]) == 0
    assert re.search(r"^ +cut +cut the subject out of pictures$", capsys.readouterr().out, re.MULTILINE)


def test_the_version_is_the_packs(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out.strip() == birefnet.__version__
    assert f'version = "{birefnet.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["cut", "a.jpg"])
    assert stop.value.code == 2 and "-o/--out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_progress_bar_on_a_terminal(tmp_path, tiny, photo):
    photo("in/a.png"), photo("in/b.png")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(command("cut", tmp_path / "in", "-o", tmp_path / "out", "--model", tiny),
                               cwd=ROOT, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end was closed
            break
    os.close(ours)
    assert process.wait() == 0
    assert b"100%" in shown and b"2/2" in shown and b"picture" in shown


@pytest.mark.slow
def test_into_a_file_there_are_messages_but_no_bar(tmp_path, tiny, photo):
    done = subprocess.run(command("cut", photo("a.png"), "-o", tmp_path / "b.png", "--model", tiny),
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "%" not in done.stderr and "1 of 1 written" in done.stderr


def interrupt(process: subprocess.Popen, attempts: int = 5) -> str:
    """What a process writes to standard error until Ctrl-C ends it.

    A signal that comes after Python last looked for one, and before a read that blocks, is heard only when
    the read ends; whoever sits before it presses again, and so does this.
    """
    for _ in range(attempts):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=20)[1]
    process.kill()
    raise AssertionError(f"{attempts} interrupts did not end it: {process.communicate()[1]}")


@pytest.mark.slow
def test_an_interrupt_leaves_whole_files_only(tmp_path, tiny, photo, reading):
    """It comes while the fourth of six pictures, a pipe, is being read: three results are written, two to
    come."""
    sources = [photo(f"in/{number}.png", size=(600, 600)) for number in range(6)]
    sources[3].unlink()
    os.mkfifo(sources[3])
    (tmp_path / "list.txt").write_text("".join(f"{source}\n" for source in sources))
    process = subprocess.Popen(command("cut", "--list", tmp_path / "list.txt", "-o", tmp_path / "out",
                                       "--model", tiny),
                               cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with reading(sources[3], process):
        messages = interrupt(process)
    assert process.returncode == 130 and messages.splitlines()[-1] == "interrupted"
    assert "Traceback" not in messages
    written = [path for path in sorted((tmp_path / "out").iterdir()) if path.is_file()]
    assert [path.name for path in written] == ["0.png", "1.png", "2.png"]
    for path in written:
        with Image.open(path) as image:
            image.load()
