"""The cards of the loader's list, with stand-ins for the host's modules."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from unittest.mock import MagicMock

import pytest

HOST = ("aiohttp", "comfy", "comfy.model_management", "comfy.model_patcher", "comfy.utils", "comfy_api",
        "comfy_api.latest", "folder_paths", "server")


@pytest.fixture
def card(pack, monkeypatch):
    """The module; the others of the pack that it brings are forgotten after the test."""
    before = set(sys.modules)
    for name in HOST:
        monkeypatch.setitem(sys.modules, name, MagicMock())
    yield importlib.import_module(f"{pack.__name__}.nodes.host.card")
    for name in set(sys.modules) - before - set(HOST):
        if name.startswith(f"{pack.__name__}.nodes"):
            del sys.modules[name]


def test_a_card_that_cannot_be_made_is_logged_and_the_others_are_there(card, monkeypatch, caplog, tmp_path):
    catalog = card.weights.CATALOG
    wrong = dataclasses.replace(catalog[1], backbone="swin_v9")
    monkeypatch.setattr(card.weights, "CATALOG", (catalog[0], wrong, *catalog[2:]))
    monkeypatch.setattr(card.folders, "checkpoint_folders", lambda: [tmp_path])
    monkeypatch.setattr(card.folders, "registered_folders", dict)
    monkeypatch.setattr(card.memory, "device", lambda choice: card.torch.device("cpu"))
    monkeypatch.setattr(card.memory, "dtype", lambda choice, device: card.torch.float32)
    assert set(card.cards()) == {row.name for row in catalog} - {wrong.name}
    assert f"the card of {wrong.name} cannot be made" in caplog.text and "swin_v9" in caplog.text
