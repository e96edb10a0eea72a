"""The fuzzers, for a few seconds each; the long run and its figures are in docs/reliability.md."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # kinds

from kinds import KINDS, Bytes  # noqa: E402

IN_HOST = "nodes"  # fuzzed by tests/host/test_fuzz.py, in the host that runs there anyway
RUN = Path(__file__).with_name("run.py")
CASES = 1300


def test_nothing_breaks_it(tmp_path):
    """Fixed seed: a failure here is one of this change, and not of chance."""
    kinds = [
        name
        for name, kind in KINDS.items()
        if name != IN_HOST and (find_spec("atheris") or not isinstance(kind, Bytes))
    ]
    done = subprocess.run(
        [sys.executable, str(RUN), "--cases", str(CASES), "--seed", "6", "--found", str(tmp_path), *kinds],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-6000:]}"
    assert int(re.search(r"^(\d+) cases in", done.stdout, re.MULTILINE)[1]) >= 0.9 * CASES, done.stdout
