"""For all tests: threads per process, marks quick tests, and assigns files to workers."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two workers share two cores: PyTorch's threads, here and in the processes that tests start, would wait for
# each other. Set before PyTorch is imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# What processes that tests fork from the fork server need: imported once, for it takes seconds each time.
multiprocessing.set_forkserver_preload(["torch", "birefnet.checkpoint.load", "birefnet.network.cost",
                                        "birefnet.evaluation.run"])

HERE = Path(__file__).parent
# Rooms that start hosts, browsers, clusters, videos, training or exports, longest first; in all others a test
# is quick unless it is marked `slow`.
SLOW_ROOMS = ("host", "training", "faults", "scale", "soak", "fuzz", "video", "evaluation", "tools", "export")
SHARED = "host"  # the room whose files share one ComfyUI and therefore one worker


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m quick`, slow rooms are not even imported: their files need timm, ONNX, hypothesis and more."""
    return True if config.option.markexpr == "quick" and collection_path.parent == HERE \
        and collection_path.name in SLOW_ROOMS else None


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests and run them last, so that no worker ends with a long one."""
    def rank(item: pytest.Item) -> int:
        room = item.path.relative_to(HERE).parts[0]
        if room in SLOW_ROOMS:
            return SLOW_ROOMS.index(room)
        return len(SLOW_ROOMS) + (item.get_closest_marker("slow") is None)

    items.sort(key=rank)
    for item in items:
        if rank(item) > len(SLOW_ROOMS):
            item.add_marker(pytest.mark.quick)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Send whole files to workers, as --dist loadfile does, all of `SHARED` to one, in collected order."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return SHARED if file.startswith(f"tests/{SHARED}/") else file

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture
def forked(monkeypatch):
    """Processes that the code begins anew ("spawn") are forked from the fork server, which has imported what
    they need; for tests of what they do, beside tests that run the command itself."""
    known = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context",
                        lambda method=None: known("forkserver" if method == "spawn" else method))


@pytest.fixture(scope="session")
def reading():
    """A context manager (pipe, process): its block runs while the process waits for data from the pipe."""
    @contextlib.contextmanager
    def waiting(pipe: Path, process: subprocess.Popen) -> Iterator[None]:
        writer, deadline = None, time.monotonic() + 300
        while writer is None:
            try:
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                late = process.poll() is not None or time.monotonic() > deadline
                if late or error.errno != errno.ENXIO:  # ENXIO: the process has not opened the pipe yet
                    process.kill()
                    raise
                time.sleep(0.01)
        try:
            yield
        finally:
            os.close(writer)

    return waiting
