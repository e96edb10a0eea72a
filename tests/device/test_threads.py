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
# How often two threads give up the processor of themselves, waiting for each other on a single one, as if
# another program had the second.
WAITING = """
import contextlib, os, resource
{first}
import torch
from birefnet.device.threads import short_waits
torch.set_num_threads(2)
with {around}:
    os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
    x = torch.zeros(1 << 16).add_(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for _ in range({regions}):
        x.add_(1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before)
"""


def sleeps(first: str = "", around: str = "contextlib.nullcontext()") -> int:
    environment = {name: value for name, value in os.environ.items() if name not in MINE}
    program = WAITING.format(first=first, around=around, regions=REGIONS)
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, env=environment,
                           capture_output=True, text=True).stdout
    return int(shown.split()[-1])


@pytest.mark.slow
@linux
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="libgomp never spins on a single processor")
def test_waiting_threads_leave_the_processor_to_the_others():
    assert sleeps() < REGIONS / 2  # PyTorch by itself: they spin
    assert sleeps(around="short_waits()") > REGIONS
    assert sleeps(first="from birefnet.__main__ import main; main([])") > REGIONS  # any command


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
