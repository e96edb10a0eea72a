"""Every node on inputs that no page would send: a result or a sentence, and nothing written elsewhere."""

from __future__ import annotations

import json
import sys

from host import PACK
from workflow import node

sys.path.insert(0, str(PACK / "tests" / "fuzz"))  # kinds

from kinds.nodes import fuzzed  # noqa: E402

CASES = 80


def test_no_input_breaks_a_node(host):
    """Fixed seed: a failure here is one of this change, and not of chance. The long run is
    tests/fuzz/run.py."""
    result = fuzzed(host, CASES, seed=6)
    assert not result["fault"], result["fault"]
    assert sum(map(sum, result["counts"].values())) >= 0.8 * CASES
    assert len(result["counts"]) == len([name for name in host.object_info() if name.startswith("BiRef")])


def test_importing_the_pack_starts_asks_for_and_writes_nothing(host):
    told = json.loads(host.texts(host.run({"watch": node("ImportWatch")}))[0])
    assert told["imported"] > 20 and told["heard"] == []
