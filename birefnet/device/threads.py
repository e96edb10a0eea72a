"""Keep PyTorch's threads from spinning on a processor that other programs use too."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

import torch

GRAIN = 32768  # elements below which PyTorch gives a thread no part of an elementwise operation


@contextlib.contextmanager
def short_waits() -> Iterator[None]:
    """Let OpenMP threads that wait for others sleep early, within a `with` block.

    A network consists of many short parallel regions; at the end of each, all threads wait for the slowest.
    With libgomp, PyTorch's OpenMP on Linux, they spin for milliseconds first, and when another program uses a
    core, they occupy the core that the slowest thread needs. The environment variable OMP_WAIT_POLICY=passive
    prevents this, but it is read when the library is loaded, which is too late in a host such as ComfyUI.
    libgomp spins 100 times instead of 300,000 while it manages more threads than the process has processors
    (GOMP_SPINCOUNT in its manual). So this starts threads that sleep, until there are more than that. On
    systems other than Linux it does nothing.
    """
    over = threading.Event()
    teams = [Team(over) for _ in range(missing_teams())]
    try:
        for team in teams:
            team.formed.wait()
        yield
    finally:
        over.set()
        for team in teams:
            team.join()


def missing_teams() -> int:
    """Count the teams that, with the caller's, have more threads than there are processors."""
    threads = torch.get_num_threads()
    if sys.platform != "linux" or threads < 2:
        return 0
    return max(0, 1 + (len(os.sched_getaffinity(0)) - threads) // (threads - 1))


class Team(threading.Thread):
    """A thread with an OpenMP team of its own; both end when the event is set."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.over, self.formed = over, threading.Event()
        self.start()

    def run(self) -> None:
        try:
            torch.zeros(GRAIN * torch.get_num_threads()).add_(1)  # a parallel region forms the team
        finally:
            self.formed.set()
        self.over.wait()
