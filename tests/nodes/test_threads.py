"""A node runs with short waits, and leaves no thread behind."""

from __future__ import annotations

import importlib
import threading

import pytest
import torch


def test_a_node_runs_with_short_waits_and_leaves_no_thread(pack, monkeypatch):
    threads = importlib.import_module(f"{pack.__name__}.nodes.host.threads")
    device = importlib.import_module(f"{pack.__name__}.birefnet.device.threads")
    monkeypatch.setattr(device, "missing_teams", lambda: 1)
    seen = []

    class Node:
        @classmethod
        def execute(cls, number: int, fail: bool = False) -> int:
            seen.append(threading.active_count())
            if fail:
                raise ValueError("Set number.")
            return number * torch.get_num_threads()

    node, before = threads.with_short_waits(Node), threading.active_count()
    assert node.execute(2) == 2 * torch.get_num_threads()
    with pytest.raises(ValueError, match="Set number."):
        node.execute(2, fail=True)
    assert seen == [before + 1] * 2 and threading.active_count() == before
