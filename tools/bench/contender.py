"""A process that runs one form of the network and reports its measurements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from .runtime import RUNTIMES


class Contender:
    """One form in one number format, in its own process. After a failure, `error` says why; others continue.

    Args:
        job: see worker.py and runtime.py.
        reference: a checkout of the authors' code, for their form.
    """

    def __init__(self, job: dict, reference: Path | None = None) -> None:
        self.form, self.dtype, self.result = job["form"], job["dtype"], job.get("result")
        self.seconds: list[float] = []
        self.last: dict = {}
        self.error = ""
        environment = dict(os.environ, HF_HUB_OFFLINE="1")
        if self.form == "authors":
            folders = [str(reference), os.environ.get("PYTHONPATH")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
        worker = "runtime" if self.form in RUNTIMES else "worker"
        self.process = subprocess.Popen([sys.executable, "-m", f"{__package__}.{worker}", json.dumps(job)],
                                        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=environment)
        self.load = self._listen().get("load")

    def step(self) -> dict:
        """Run one pass; return its `seconds`, and memory in bytes, `peak` and `now`; {} after a failure."""
        if self.error:
            return {}
        try:
            print("", file=self.process.stdin, flush=True)
        except BrokenPipeError:  # the process has ended: `_listen` reads why
            pass
        return self._listen()

    def time(self) -> None:
        """Run one timed pass."""
        seconds = self.step().get("seconds")
        if seconds is not None:
            self.seconds.append(seconds)

    def median(self) -> float | None:
        """Return the median of the timed passes in seconds; None after a failure."""
        return median(self.seconds) if self.seconds and not self.error else None

    def end(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _listen(self) -> dict:
        """Read the process's next answer; {} if it is an error."""
        line = self.process.stdout.readline()
        if line:
            answer = json.loads(line)
        else:
            answer = {"error": f"its process ended with status {self.process.wait()}"}
        self.error = answer.get("error", "")
        self.last = {} if self.error else answer
        return self.last
