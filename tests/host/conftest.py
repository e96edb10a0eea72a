"""One running ComfyUI for all tests here: the floor version, or the one that COMFYUI_PATH names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # host, floor, workflow, browser

from floor import comfyui_0_3_75  # noqa: E402
from host import Host  # noqa: E402


@pytest.fixture(scope="session")
def host(tmp_path_factory) -> Host:
    """Started once; COMFYUI_PYTHON names the interpreter that has the packages of COMFYUI_PATH, if not this one."""
    named = os.environ.get("COMFYUI_PATH")
    comfyui = Path(named).resolve() if named else comfyui_0_3_75()
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with Host(comfyui, tmp_path_factory.mktemp("comfyui"), python) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(host) -> dict[str, dict]:
    return host.object_info()
