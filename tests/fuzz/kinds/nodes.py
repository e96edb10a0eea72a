"""Every node inside a real host, on inputs as its schema declares them and on what no page would send."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HOST = Path(__file__).resolve().parents[2] / "host"


@dataclass(frozen=True)
class InHost:
    """Runs in a ComfyUI of its own, not in a child of the fuzzer."""

    name: str
    about: str
    share: float

    def run(self, cases: int, seed: int) -> dict:
        sys.path.insert(0, str(HOST))
        from floor import comfyui_0_3_75
        from host import Host

        with (
            tempfile.TemporaryDirectory(prefix="fuzz-host-") as folder,
            Host(comfyui_0_3_75(), Path(folder), sys.executable) as host,
        ):
            begin = time.monotonic()
            result = fuzzed(host, cases, seed)
            counts = result["counts"].values()
            return {
                "taken": sum(taken for taken, _ in counts),
                "refused": sum(refused for _, refused in counts),
                "cases": sum(map(sum, counts)),
                "fault": result["fault"],
                "seconds": time.monotonic() - begin,
                "counts": result["counts"],
            }


def fuzzed(host, cases: int, seed: int) -> dict:
    """`counts` (taken, refused) by node, and `fault`: what a host that runs tests/host/fuzzed_nodes came
    to."""
    workflow = {"fuzz": {"class_type": "FuzzNodes", "inputs": {"cases": cases, "seed": seed}}}
    try:
        record = host.run(workflow, 3600)
    except Exception as error:  # it died, and its log says of what
        last = host.base / "temp" / "case"
        return {"counts": {}, "fault": f"{error}\nlast case: "
                                       f"{last.read_text()[:3000] if last.exists() else 'none'}"}
    return json.loads(host.texts(record)[0])


KINDS = (InHost("nodes", "every node of the pack in a real ComfyUI, by its own schema", 2),)
