"""The real page: a template dropped on the canvas, run from there, and looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import FIT, drop, has_nodes_2, of_ours, open_page, outputs, picture, run
from host import PACK
from layout import faults
from PIL import Image
from workflow import to_api

# The templates Pick by … need the detectors' files, which no test has: see test_templates.py.
TEMPLATES = sorted(path for path in (PACK / "example_workflows").glob("*.json") if "Pick by" not in path.stem)

# Fine-tuning takes minutes, and videos and large pictures take some time; two small steps, quick mattes and
# small pictures are enough here. The templates' own settings run in test_templates.py.
SHORT = """() => app.graph._nodes.forEach(node => {
    const values = {BiRefFinetune: {steps: 2, size: 96},
                    BiRefVideo: {size: 128, clean_edges: false},
                    BiRefFrame: {width: 400, height: 400}}[node.type] ?? {};
    for (const widget of node.widgets ?? []) {
        if (widget.name in values) widget.value = values[widget.name];
    }
})"""


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "Nodes 2.0"])
def opened(request, host):
    """The page, and what its console says from now on."""
    if request.param and not has_nodes_2(host):
        pytest.skip("Nodes 2.0 of this front end (1.32) is a draft; it came with 1.4x")
    said = []
    with open_page(host.address, said, {"Comfy.VueNodes.Enabled": request.param}) as page:
        yield page, said


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_dropped_template_runs_from_the_page(opened, object_info, template, tmp_path):
    page, said = opened
    said.clear()
    page.evaluate("() => app.graph.clear()")
    drop(page, template)
    models = missing_models(template)
    if models:
        told = page.get_by_role("dialog").or_(page.get_by_role("alert"))
        told = told.filter(has_text=re.compile("missing", re.I))
        # older pages offer the download in a window over all, newer ones beside the graph
        told.first.wait_for()
        page.keyboard.press("Escape")
        page.locator(".p-dialog-mask").wait_for(state="hidden")
    page.evaluate(SHORT)
    page.evaluate(FIT)  # the page makes previews only of what it draws
    before = page.evaluate("() => app.graph.serialize()")
    asked = page.evaluate("async () => (await app.graphToPrompt()).output")
    run(page, outputs(page), seconds=300)  # one learns and exports
    picture(page, tmp_path / "page.jpg")
    broken = set(page.evaluate("() => app.graph._nodes.filter(node => node.has_errors).map(node => "
                               "node.type)"))
    after = page.evaluate("() => app.graph.serialize()")
    previews = {"video-preview"}  # of core's Load Video: a widget that the page alone knows
    assert {name: {key: value for key, value in node["inputs"].items() if key not in previews}
            for name, node in asked.items()} == {
        name: node["inputs"] for name, node in to_api(before, object_info).items()}
    assert broken <= {"CheckpointLoaderSimple"}  # whose file no test has
    assert errors_of_ours(said) == of_ours(said) == []
    assert faults(page, growing=False) == []
    assert widget_values(after) == widget_values(before)  # a run adds nothing to what is saved by position
    shown = np.asarray(Image.open(tmp_path / "page.jpg").resize((64, 64)))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 300  # nodes, links, pictures: not an empty canvas


def missing_models(template: Path) -> list[str]:
    """Return the models that a template declares for the host to offer as downloads."""
    nodes = json.loads(template.read_text(encoding="utf-8"))["nodes"]
    return [model["name"] for node in nodes for model in node["properties"].get("models", [])]


def widget_values(workflow: dict) -> dict[int, list]:
    return {node["id"]: node.get("widgets_values") for node in workflow["nodes"]
            if node["type"].startswith("BiRef")}


def errors_of_ours(said: list[str]) -> list[str]:
    """Return all errors except for requests to servers that do not run here (such as a missing model's size),
    and for user settings that are not saved yet."""
    return [line for line in said if line.startswith(("error", "uncaught"))
            and not (line.startswith("error: Failed to load resource") and "/extensions/" not in line)
            and "fetching file size" not in line]
