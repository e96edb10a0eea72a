"""A workflow saved by any released version keeps loading: tests/workflows/<version>/ holds what that version
saved.

The folder only grows: add one for each release, never change or delete a file in it. Beside each
`<name>.json`, `<name>.prompt.json` has what the page asked of this pack's nodes for it when it was saved. A
test that fails here means that somebody's workflow breaks: widgets may be appended but not moved, renamed or
dropped, nor may their options.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from host import PACK
from workflow import to_api, widgets

FOLDER = PACK / "tests" / "workflows"
SAVED = sorted(path for path in FOLDER.glob("*/*.json") if not path.stem.endswith(".prompt"))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def loaded(path: Path, object_info: dict[str, dict]) -> dict[str, dict]:
    """The API form of a saved workflow as the page loads it: what has been appended since has its default."""
    saved = copy.deepcopy(read(path))
    for node in saved["nodes"]:
        if node["type"].startswith("BiRef"):
            later = widgets(object_info[node["type"]])[len(node["widgets_values"]):]
            node["widgets_values"] += [options["default"] for _, _, options in later]
    return to_api(saved, object_info)


def test_each_release_left_its_workflows():
    assert {"0.1.0/New Background", "0.1.0/Refine the Matte", "0.1.0/Remove Background", "0.1.0/Every Widget",
            "0.1.0/Every Option", "0.2.0/Every Option", "0.3.0/Every Option"} <= set(map(name, SAVED))


@pytest.mark.parametrize("path", SAVED, ids=name)
def test_every_value_finds_its_widget_again(object_info, path):
    workflow, asked = loaded(path, object_info), read(path.with_suffix(".prompt.json"))
    assert asked
    for node, before in asked.items():
        assert workflow[node]["class_type"] == before["class_type"]
        assert workflow[node]["inputs"].items() >= before["inputs"].items()


@pytest.mark.parametrize("path", SAVED, ids=name)
def test_every_option_is_still_offered(object_info, path):
    for node in loaded(path, object_info).values():
        for widget, kind, options in widgets(object_info[node["class_type"]]):
            offered = kind if isinstance(kind, list) else options.get("options")
            if offered and node["class_type"].startswith("BiRef"):
                assert node["inputs"][widget] in offered


@pytest.mark.parametrize("path", [path for path in SAVED if "SaveImage" in path.read_text(encoding="utf-8")],
                         ids=name)
def test_it_runs(host, object_info, path):
    workflow = loaded(path, object_info)
    shown = {node for node, content in workflow.items() if object_info[content["class_type"]]["output_node"]}
    assert host.run(workflow)["outputs"].keys() >= shown
