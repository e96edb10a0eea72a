"""Threads that wait for each other do not keep the processor from the one they wait for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from birefnet.device import threads
from birefnet.device.threads import missing_teams, short_waits

ROOT = Path(__file__).parents[2]
MINE = "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT"  # of the tests' own processes
linux = pytest.mark.skipif(sys.platform != "linux", reason="libgomp is PyTorch's OpenMP on Linux only")

REGIONS = 200
# Processor time of two threads that wait for each other on a single processor, as if another program had the
# second.
WAITING = """
import contextlib, os, resource
{first}
import torch
from birefnet.device.threads import short_waits
torch.set_num_threads(2)

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

with {around}:
    os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
    x = torch.zeros(1 << 16).add_(1)
    before = used()
    for _ in range({regions}):
        x.add_(1)
    print(used() - before)
"""


def processor_seconds(first: str = "", around: str = "contextlib.nullcontext()") -> float:
    environment = {name: value for name, value in os.environ.items() if name not in MINE}
    program = WAITING.format(first=first, around=around, regions=REGIONS)
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, env=environment,
                           capture_output=True, text=True).stdout
    return float(shown.split()[-1])


@pytest.mark.slow
@linux
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="libgomp never spins on a single processor")
def test_waiting_threads_leave_the_processor_to_the_others():
    spinning = processor_seconds()  # PyTorch by itself
    assert processor_seconds(around="short_waits()") < spinning / 5
    any_command = "from birefnet.__main__ import main; main([])"
    assert processor_seconds(first=any_command) < spinning / 5


def tasks() -> int:
    return len(os.listdir("/proc/self/task"))


@linux
def test_the_threads_that_sleep_are_gone_afterwards(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.zeros(2 * threads.GRAIN).add_(1)  # the caller's own team
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(2))
        alive, running = threading.active_count(), tasks()
        with short_waits():
            assert threading.active_count() == alive + 1
            assert tasks() == running + 2
        assert threading.active_count() == alive
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("of_a_team", "processors", "teams"), [
    (1, 8, 0), (2, 2, 1), (8, 8, 1), (8, 16, 2), (2, 4, 3), (4, 2, 0)])
def test_as_many_teams_as_lack(monkeypatch, of_a_team, processors, teams):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(torch, "get_num_threads", lambda: of_a_team)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(processors), raising=False)
    assert missing_teams() == teams
    if teams:
        assert of_a_team + teams * (of_a_team - 1) > processors >= of_a_team + (teams - 1) * (of_a_team - 1)
