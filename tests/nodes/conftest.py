"""Loads the pack the way ComfyUI does: by the path of its folder, under a name of its own, with nothing on
sys.path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
NAME = "comfyui_biref"


@pytest.fixture(scope="session")
def pack() -> ModuleType:
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py",
                                                  submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def convert(pack) -> ModuleType:
    return importlib.import_module(f"{NAME}.nodes.host.convert")
