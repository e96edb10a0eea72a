"""Command lines killed at random moments: whatever is left is whole or absent, and the next run goes on and
finishes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
from PIL import Image
from safetensors import safe_open

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


class Server:
    """Starts commands in processes that have imported everything already; see kill_server."""

    def __init__(self, log: Path, **environment: str) -> None:
        self.log = log
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "kill_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | environment)
        self._answer()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()

    def start(self, order: dict) -> int:
        return self._ask(order | {"log": str(self.log)})["pid"]

    def wait(self, pid: int) -> int:
        return self._ask({"wait": pid})["status"]

    def _ask(self, order: dict) -> dict:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        return json.loads(self.process.stdout.readline())


@dataclass
class Killed:
    """What killing a command came to: kills that hit it while it ran, runs that finished first, and where
    they hit."""

    hits: int = 0
    missed: int = 0
    states: set[tuple[str, ...]] = field(default_factory=set)  # different folders that kills left behind


def kill_again_and_again(
    server: Server,
    order: dict,
    folder: Path,
    kills: int,
    *,
    finished: Callable[[], None],
    codes: tuple[int, ...] = (0,),
    each: int = 5,
    seed: int = 0,
) -> Killed:
    """Kill a command `kills` times, at moments drawn evenly over the time that it takes when it is left
    alone.

    After every kill everything visible in `folder` must be whole; after every `each` kills the command runs
    to its end, with an exit code of `codes`, `finished()` checks the results, and nothing hidden may be left;
    then `folder` is emptied and all begins anew, as it does where a kill came too late.
    """
    draw, told, usual = random.Random(seed), Killed(), float("inf")

    def to_the_end() -> float:
        began = time.monotonic()
        code = server.wait(server.start(order))
        lasted = time.monotonic() - began
        assert code in codes, f"exit code {code}:\n{server.log.read_text()}"
        finished()
        left = [path for path in listed(folder) if path.name.endswith((".part", ".partial"))]
        assert not left, f"left after a run that finished: {left}"
        empty(folder)
        return lasted

    while told.hits < kills and told.missed < 20 + 2 * kills:
        if told.hits % each == 0:
            usual = min(usual, to_the_end())  # on a busy machine the shortest is the usual one
        pid = server.start(order)
        time.sleep(draw.uniform(0, usual))
        os.kill(pid, signal.SIGKILL)
        status = server.wait(pid)
        check_whole(folder)
        orphans = processes_of(pid)
        assert not orphans, f"left running: {orphans}"
        if status == -signal.SIGKILL:
            told.hits += 1
            told.states.add(tuple(f"{path.relative_to(folder)} {bool(path.stat().st_size)}"
                                  for path in listed(folder)))
        else:
            told.missed += 1
            assert status in codes, f"exit code {status}:\n{server.log.read_text()}"
            empty(folder)
    to_the_end()
    return told


def listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def check_whole(folder: Path) -> None:
    """Every file that has its name can be read to its end. Hidden ones are nobody's yet."""
    for path in listed(folder):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        reader = READERS.get(path.suffix)
        if reader is not None:
            reader(path)


def read_picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def read_video(path: Path) -> None:
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) > 0


def read_checkpoint(path: Path) -> None:
    with safe_open(path, "pt") as file:
        assert file.keys()


def read_state(path: Path) -> None:
    import torch

    torch.load(path, weights_only=True)


READERS: dict[str, Callable[[Path], object]] = {
    ".png": read_picture, ".jpg": read_picture, ".webm": read_video, ".mp4": read_video, ".mov": read_video,
    ".safetensors": read_checkpoint, ".pt": read_state, ".json": lambda path: json.loads(path.read_text()),
}


def processes_of(session: int, seconds: float = 20) -> list[str]:
    """What is still running of a session whose leader was killed, after some time to notice it."""
    end = time.monotonic() + seconds
    while True:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == session:
                continue
            try:
                state, _, _, of = entry.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
                if int(of) == session and state != "Z":
                    found.append(entry.joinpath("cmdline").read_text().replace("\0", " ")[:120])
            except (OSError, ValueError):
                pass
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)
