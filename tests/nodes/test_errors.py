"""What leaves a node: a builtin exception with the pack's own text; anything else as it came."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def as_builtin_errors(pack):
    """nodes.host.errors without a host: it needs ComfyUI's `io` for a type's name only."""
    latest = SimpleNamespace(io=SimpleNamespace(ComfyNode=object))
    stand_ins = {"comfy_api": SimpleNamespace(latest=latest), "comfy_api.latest": latest}
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield importlib.import_module(f"{pack.__name__}.nodes.host.errors").as_builtin_errors
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def node(error: Exception):
    class Node:
        @classmethod
        def execute(cls):
            raise error

    return Node


def raised(node) -> Exception:
    with pytest.raises(Exception) as caught:
        node.execute()
    return caught.value


@pytest.mark.parametrize("module, name, builtin", [
    ("birefnet.files.errors", "UserError", ValueError),
    ("birefnet.files.errors", "CheckpointError", ValueError),
    ("weights.lookup", "NotFound", FileNotFoundError), ("weights.downloads", "FetchError", RuntimeError),
    ("birefnet.device.passes", "OutOfMemory", RuntimeError)])
def test_an_exception_of_ours_becomes_the_builtin_one(pack, as_builtin_errors, module, name, builtin):
    own = getattr(importlib.import_module(f"{pack.__name__}.{module}"), name)
    error = raised(as_builtin_errors(node(own("Connect image."))))
    assert type(error) is builtin and str(error) == "Connect image."


def test_another_exception_is_left_alone(as_builtin_errors):
    error = KeyError("x")
    assert raised(as_builtin_errors(node(error))) is error
