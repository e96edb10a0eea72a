"""What a kind of case is: how many of all, how one is run, and what it may be refused with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """Cases that hypothesis builds. `start(folder)` imports what is tested and gives what runs a case
    there."""

    name: str
    about: str
    share: float  # of all cases, against the other kinds'
    start: Callable[[Path], Callable[[object], object]]
    refusals: Callable[[], tuple[type[BaseException], ...]]  # asked once all is imported
    cases: Callable[[], object] | None = None  # a strategy
    loopback: bool = False  # whether it may talk to a server on this machine


@dataclass(frozen=True)
class Bytes(Kind):
    """Cases that atheris makes of the files in a folder of seeds; `instrument`: modules whose branches guide
    it."""

    seeds: str = ""
    instrument: tuple[str, ...] = ()
