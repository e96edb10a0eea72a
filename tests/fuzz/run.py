"""`python tests/fuzz/run.py`: tries many damaged, hostile and odd inputs, each in a watched process, and
counts.

    python tests/fuzz/run.py                      # about 2,000 cases of all kinds
    python tests/fuzz/run.py --cases 150000       # the long run
    python tests/fuzz/run.py pictures videos      # some kinds only
    python tests/fuzz/run.py --list

A case that crashes, hangs, runs code, writes elsewhere or is refused in anything but a sentence ends its
kind, with the case in the folder --found and exit status 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

import hypothesis  # noqa: E402
import torch  # noqa: E402, F401  once for all kinds
from kinds import KINDS, Bytes, Kind  # noqa: E402
from watch import Failure, Watch  # noqa: E402

SEEDS = Path(__file__).resolve().parent / "seeds"


def main() -> int:
    arguments = parser().parse_args()
    chosen = [KINDS[name] for name in arguments.kinds or KINDS]
    if arguments.list:
        print("\n".join(f"{kind.name:22} {kind.about}" for kind in chosen))
        return 0
    share = sum(kind.share for kind in chosen)
    total, failed, begin = 0, 0, time.monotonic()
    print(f"seed {arguments.seed}\n{'kind':22} {'cases':>8} {'taken':>8} {'refused':>8} {'seconds':>8}",
          flush=True)
    for kind in chosen:
        if isinstance(kind, Bytes) and not importlib.util.find_spec("atheris"):
            print(f"{kind.name:22} left out: it needs atheris, which this Python and system have no package "
                  "of")
            continue
        cases = max(1, round(arguments.cases * kind.share / share))
        found = kind.run(cases, arguments.seed) if hasattr(kind, "run") else watched(kind, cases, arguments)
        total += found["cases"]
        failed += bool(found["fault"])
        print(
            f"{kind.name:22} {found['cases']:8} {found['taken']:8} {found['refused']:8} "
            f"{found['seconds']:8.1f}",
            flush=True,
        )
        for part, (taken, refused) in sorted(found.get("counts", {}).items()):
            print(f"  {part:20} {taken + refused:8} {taken:8} {refused:8}", flush=True)
        if found["fault"]:
            print(found["fault"], file=sys.stderr, flush=True)
    print(f"{total} cases in {time.monotonic() - begin:.0f} s, {failed} kinds failed")
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND",
                      help="see --list (default: all)")
    made.add_argument("--cases", type=int, default=2000, help="in all kinds together (default: %(default)s)")
    made.add_argument("--seed", type=int, default=random.randrange(2**31), help="of the first run; others "
                                                                                "differ")
    made.add_argument("--found", type=Path, default=Path("found"), help="where failing cases go (default: "
                                                                        "%(default)s)")
    made.add_argument("--list", action="store_true", help="say which kinds there are")
    return made


def watched(kind: Kind, cases: int, arguments: argparse.Namespace) -> dict:
    """What came of a kind in a process of its own, which may die of it."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=base) as folder:
        scratch = Path(folder)
        (scratch / "work").mkdir()
        (scratch / "cwd").mkdir()  # where nothing may be written: what runs by mistake would write here
        pid = os.fork()  # and not a new program: that would import PyTorch anew for each kind
        if not pid:
            child(kind, cases, arguments.seed, scratch)
        status = os.waitpid(pid, 0)[1]
        result = scratch / "result.json"
        found = {"cases": 0, "taken": 0, "refused": 0, "fault": ""}
        if result.exists():
            found = json.loads(result.read_text())
        if status and not found["fault"]:
            found["fault"] = f"it ended with status {os.waitstatus_to_exitcode(status)}"
        if any((scratch / "cwd").iterdir()):
            found["fault"] += "\nit wrote where it may not"
        if found["fault"]:
            arguments.found.mkdir(parents=True, exist_ok=True)
            kept = arguments.found / kind.name
            if (scratch / "case").exists():
                shutil.copy(scratch / "case", kept)
            said = [
                line
                for line in (scratch / "log").read_text(errors="replace").splitlines()
                if not line.startswith(("INFO:", "#"))
            ]
            found["fault"] = "\n".join([*said[-40:], found["fault"], f"the case is in {kept}"])
    return {**found, "seconds": time.monotonic() - begin}


# In the child -----------------------------------------------------------------------------------------------


class Session:
    """A kind's cases: run, counted, and the last one kept where the parent finds it if this process dies."""

    def __init__(self, kind: Kind, cases: int, scratch: Path) -> None:
        self.kind, self.cases, self.scratch = kind, cases, scratch
        self.one = kind.start(scratch / "work")
        self.last = os.open(scratch / "case", os.O_RDWR | os.O_CREAT)
        self.parent = os.getppid()
        self.watch = Watch(scratch / "work", loopback=kind.loopback)

    def __call__(self, case: object) -> None:
        if os.getppid() != self.parent:  # nobody waits for this any more
            os._exit(1)
        content = case if isinstance(case, bytes) else pickle.dumps(case)
        os.ftruncate(self.last, 0)
        os.pwrite(self.last, content, 0)
        self.watch.case(lambda: self.one(case), self.kind.refusals())

    @property
    def count(self) -> int:
        return self.watch.taken + self.watch.refused

    def end(self, fault: str = "") -> None:
        """Writes down what came of it."""
        result = {"cases": self.count, "taken": self.watch.taken, "refused": self.watch.refused,
                  "fault": fault}
        (self.scratch / "result.json").write_text(json.dumps(result))


def child(kind: Kind, cases: int, seed: int, scratch: Path) -> NoReturn:
    """All cases of a kind, and the end of this process."""
    code = 1
    try:
        log = os.open(scratch / "log", os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(scratch / "cwd")
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch / "work")
        code = (by_bytes if isinstance(kind, Bytes) else by_hypothesis)(kind, cases, seed, scratch)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def by_bytes(kind: Bytes, cases: int, seed: int, scratch: Path) -> int:
    """Coverage-guided mutations of the seeds by atheris (libFuzzer)."""
    import atheris

    with atheris.instrument_imports(include=list(kind.instrument)):
        session = Session(kind, cases, scratch)

    def test(data: bytes) -> None:
        fault = ""
        try:
            session(data)
        except BaseException:  # libFuzzer's own ending would lose the counts
            fault = traceback.format_exc()
        if fault or session.count >= session.cases:
            session.end(fault)
            os._exit(1 if fault else 0)

    corpus = scratch / "corpus"
    corpus.mkdir()
    # rss_limit and timeout are the watch's; len_control=0: long inputs from the start.
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            str(SEEDS / kind.seeds),
            f"-seed={seed % 2**31 or 1}",
            "-rss_limit_mb=0",
            "-malloc_limit_mb=0",
            "-timeout=60",
            "-max_len=40000",
            "-len_control=0",
            "-detect_leaks=0",
            f"-artifact_prefix={scratch}/",
        ],
        test,
    )
    atheris.Fuzz()
    return 1


def by_hypothesis(kind: Kind, cases: int, seed: int, scratch: Path) -> int:
    """Cases built from a description, by hypothesis; a failing one is made smaller first."""
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(scratch / "hypothesis")
    session = Session(kind, cases, scratch)
    fault = ""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(kind.cases())
    def test(case: object) -> None:
        try:
            session(case)
        except Failure as failure:
            raise AssertionError(str(failure)) from None

    try:
        test()
    except BaseException:
        fault = traceback.format_exc()
    session.end(fault)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
