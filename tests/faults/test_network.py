"""A hub that lies about what it sends or dies in the middle, and processes that share one folder of
checkpoints."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from killing import Server, listed

NAME = "BiRefNet.safetensors"


def fetch(server: Server, folder: Path) -> tuple[int, str]:
    """Exit code and last line of a fetch."""
    code = server.wait(server.start({"run": ["fetch", "BiRefNet", "--to", str(folder)]}))
    return code, server.log.read_text().strip().splitlines()[-1]


def test_a_hub_that_lies_is_told_in_a_sentence_and_the_next_try_works(server, hub, tmp_path):
    """Fewer bytes than announced, other bytes, more bytes; a hub that cannot resume in between."""
    whole = hub.content
    for served, said in ((whole[:-5_000_000], "shorter than it announced"), (whole[:-1] + b"!", "wrong hash"),
                         (whole + b"more", "sends more than")):
        hub.served = served
        code, line = fetch(server, tmp_path)
        assert code == 1 and line.startswith("error: ") and said in line
        assert not (tmp_path / NAME).exists()
        hub.served, hub.ranges = None, not hub.ranges
        assert fetch(server, tmp_path)[0] == 0
        assert (tmp_path / NAME).read_bytes() == whole
        (tmp_path / NAME).unlink()


def test_whoever_waits_for_a_fetch_takes_over_when_it_is_killed(server, hub, tmp_path):
    hub.seconds_per_mb = 0.1
    order = {"run": ["fetch", "BiRefNet", "--to", str(tmp_path)]}
    first = server.start(order)
    while not any(path.stat().st_size for path in tmp_path.glob(".*.partial")):
        time.sleep(0.02)
    hub.seconds_per_mb = 5.0  # it will not be ready before it is killed
    others = [server.start(order) for _ in range(2)]
    time.sleep(0.3)
    os.kill(first, signal.SIGKILL)
    assert server.wait(first) == -signal.SIGKILL
    hub.seconds_per_mb = 0.0
    assert [server.wait(other) for other in others] == [0, 0]
    assert (tmp_path / NAME).read_bytes() == hub.content
    assert [path.name for path in listed(tmp_path)] == [NAME]
    assert len(hub.bodies()) == 2  # the rest was fetched once


def test_several_processes_fetch_and_load_one_checkpoint_at_once(server, hub, tiny, tmp_path):
    """None ever sees half a file, though some look for it while it arrives."""
    hub.content, hub.seconds_per_mb = tiny.read_bytes(), 0.3
    others = [server.start({"fetch": "BiRefNet", "to": str(tmp_path)}) for _ in range(4)]
    assert [server.wait(other) for other in others] == [0] * 4, server.log.read_text()
    assert [path.name for path in listed(tmp_path)] == [NAME] and len(hub.bodies()) == 1
