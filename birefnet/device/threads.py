"""How PyTorch's threads wait for each other on a processor that other programs use, too."""

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
    """While it is open, threads of this process that wait for the others of their team soon sleep.

    A network is many short parallel regions, and at the end of each all threads wait for the slowest. With
    libgomp, PyTorch's OpenMP on Linux, they spin for milliseconds first: where another program has taken a
    core, they keep the core that the slowest waits for. The environment variable OMP_WAIT_POLICY=passive
    would end that, but is read when the library is loaded, which in another program has happened. libgomp
    spins 100 instead of 300,000 times while it has more threads than the process has processors
    (GOMP_SPINCOUNT in its manual), so this starts as many threads as lack for that, which sleep. On other
    systems it does nothing.
    """
    over = threading.Event()
    teams = [Team(over) for _ in range(teams_that_lack())]
    try:
        for team in teams:
            team.formed.wait()
        yield
    finally:
        over.set()
        for team in teams:
            team.join()


def teams_that_lack() -> int:
    """How many more teams, beside the caller's, have more threads than there are processors."""
    threads = torch.get_num_threads()
    if sys.platform != "linux" or threads < 2:
        return 0
    return max(0, 1 + (len(os.sched_getaffinity(0)) - threads) // (threads - 1))


class Team(threading.Thread):
    """A thread with an OpenMP team of its own, which both end when the event comes."""

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
