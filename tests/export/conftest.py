"""Builds exported once for each way of exporting."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from birefnet.export.graph import Contract
from birefnet.export.write import export_onnx

sys.path.insert(0, str(Path(__file__).parent))
from exported_builds import Made, loader  # noqa: E402


@pytest.fixture(scope="session")
def export(tmp_path_factory) -> Callable[..., Made]:
    """A function that exports a build of BUILDS: export("swin_v1", "fp16", portable=True); each way once a
    session."""
    made: dict[tuple, Made] = {}

    def make(build: str, dtype: str = "fp32", patch_order: str = "auto", **ways) -> Made:
        key = (build, dtype, patch_order, *sorted(ways.items()))
        if key not in made:
            contract, lines = Contract(**ways), []
            load = loader(build, patch_order=patch_order)
            path = tmp_path_factory.mktemp("exported") / "network.onnx"
            exported = export_onnx(load, path, contract, dtype, {"licence": "MIT"}, lines.append)
            made[key] = Made(exported, lines, load, contract)
        return made[key]

    return make
