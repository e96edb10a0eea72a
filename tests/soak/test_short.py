"""The first prompts of the long run: nothing is left over, and the queue lives. `run.py` is the long one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PROMPTS = 30
TRIM_SECONDS = 1  # between two times that the nodes hand freed memory back; usually ten
# a process that has just begun still grows: libraries, models, buffers of sizes never seen before
SHARE = 0.35


def test_many_different_prompts_leave_no_file_and_no_thread(tmp_path):
    spec = importlib.util.spec_from_file_location("soak_run", Path(__file__).with_name("run.py"))
    run = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    run.LOOKS = 1  # at the beginning and at the end
    run.REST = TRIM_SECONDS + 1
    with run.soaking(tmp_path, seed=1) as soak, soak.host.waiting("TRIM_SECONDS", TRIM_SECONDS):
        soak.run(PROMPTS)
        assert soak.faults(SHARE) == []
        assert soak.host.get("/queue") == {"queue_running": [], "queue_pending": []}
    assert sum(soak.outcomes.values()) == PROMPTS and soak.outcomes["success"] > PROMPTS / 2
