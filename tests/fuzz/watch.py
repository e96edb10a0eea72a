"""Watches each case of a fuzzer: its time, its memory, what it writes, what it starts, and how it refuses."""

from __future__ import annotations

import faulthandler
import linecache
import os
import resource
import signal
import sys
import traceback
import unicodedata
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(str(ROOT / room) + os.sep for room in ("birefnet", "nodes", "weights"))

SECONDS = 10  # of a processor that a case may take
WAITING = 60  # seconds by the clock: a case may also wait, and the machine be busy with others
MEMORY = 3 << 30  # bytes of address space that cases may take beside what the program holds when they begin
LONGEST = 1200  # characters of a refusal: a sentence, with the paths in it

# Audit events that no case may raise, whatever is in it.
STARTS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "pty.spawn",
    "subprocess.Popen",
)
REACHES = ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
# Events that change files, and which of their arguments are paths.
CHANGES = {
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.utime": 1,
    "shutil.copyfile": 2,
    "shutil.move": 2,
    "shutil.rmtree": 1,
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Failure(BaseException):
    """A case did what no case may do. No `except Exception` of the tested code stops it."""


class Watch:
    """Runs cases. `writable`: where they may write. `loopback`: whether they may talk to a server on this
    machine."""

    def __init__(self, *writable: Path, loopback: bool = False, memory: int = MEMORY) -> None:
        self.writable = tuple(os.path.realpath(folder) + os.sep for folder in writable)
        self.loopback = loopback
        self.inside, self.seen = False, []
        self.taken = self.refused = 0
        sys.dont_write_bytecode = True
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for timer in (signal.SIGPROF, signal.SIGALRM):  # tells where it was, and ends the process
            faulthandler.register(timer, chain=True)
        sys.addaudithook(self._hear)

    def case(self, run: Callable[[], object], refusals: tuple[type[BaseException], ...]) -> None:
        """One case: it passes, or is refused by one of `refusals` in a sentence of ours; else `Failure`."""
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, WAITING)
        self.seen.clear()
        self.inside = True
        try:
            run()
            self.taken += 1
        except refusals as error:
            self.inside = False
            if fault := what_is_wrong_with(error):
                raise Failure(f"{fault}\n{traceback.format_exc()}") from None
            self.refused += 1
        except Exception:
            self.inside = False
            raise Failure(f"no sentence\n{traceback.format_exc()}") from None
        finally:
            self.inside = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self.seen:
            raise Failure(f"it did {self.seen}")

    def _hear(self, event: str, args: tuple) -> None:
        if not self.inside or not self._forbidden(event, args):
            return
        self.seen.append((event, str(args)[:300]))
        raise Failure(f"{event} {args}")

    def _forbidden(self, event: str, args: tuple) -> bool:
        if event in STARTS:
            return True
        if event in REACHES:
            return not (self.loopback and any(name in str(args) for name in ("127.0.0.1", "localhost")))
        if event == "open":
            path, _, flags = args
            return bool(flags & WRITING) and not self._may_write(path)
        return event in CHANGES and not all(map(self._may_write, args[: CHANGES[event]]))

    def _may_write(self, path: object) -> bool:
        if isinstance(path, int):  # a descriptor: what it leads to was opened, and heard of, before
            return True
        path = os.path.realpath(os.fsdecode(path))
        return path == os.devnull or f"{path}{os.sep}".startswith(self.writable)


def what_is_wrong_with(error: BaseException) -> str:
    """Why an error is no sentence of ours; "" for one that is."""
    text = str(error)
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text):
        return f"control characters in {text[:LONGEST]!r}"
    if len(text) > LONGEST:
        return f"{len(text)} characters: {text[:LONGEST]!r}"
    if len(text.split()) < 3:
        return f"no sentence: {text!r}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(place.filename, place.lineno).strip()
    if not os.path.realpath(place.filename).startswith(OURS) or not line.startswith("raise"):
        return f"not raised by us, but by {place.filename}:{place.lineno}: {line}"
    return ""
