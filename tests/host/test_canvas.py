"""Nodes on the page, on the classic canvas and in Nodes 2.0: what is drawn on a picture, and the line that stays."""

from __future__ import annotations

import json

import pytest
from browser import FIT, drop, has_nodes_2, open_page, outputs, run
from host import PACK
from playwright.sync_api import Page
from workflow import widgets

PICK = PACK / "example_workflows" / "BiRefNet 06 Pick One of Several.json"
SIZE = (1200, 640)  # of its picture: width, height
NEAR = 0.02         # of the picture: what a small view on a zoomed-out canvas resolves

# Where the view of Pick Subject shows its picture on the page: left, top, width, height; null until it does.
VIEW = """() => {
    const node = app.graph._nodes.find(node => node.type === 'BiRefSubject');
    const canvas = node.widgets.find(widget => widget.name === 'subject').element.querySelector('canvas');
    const {x, y, width, height} = canvas.getBoundingClientRect();
    return width > 20 && height > 20 ? [x, y, width, height] : null;
}"""
VALUES = """() => Object.fromEntries(
    app.graph._nodes.find(node => node.type === 'BiRefSubject').widgets.map(widget => [widget.name, widget.value]))"""
LINES = """() => Object.fromEntries(app.graph._nodes.filter(node => node.type.startsWith('BiRef')).map(
    node => [node.type, node.widgets.find(widget => widget.name === 'line')?.element.textContent]))"""


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "Nodes 2.0"])
def opened(request, host):
    if request.param and not has_nodes_2(host):
        pytest.skip("Nodes 2.0 of this front end (1.32) is a draft; it came with 1.4x")
    said = []
    with open_page(host.address, said, {"Comfy.VueNodes.Enabled": request.param}) as page:
        yield page, said


def open_view(page: Page) -> tuple[float, float, float, float]:
    page.evaluate("() => app.graph.clear()")
    drop(page, PICK)
    page.wait_for_function(VIEW)
    page.evaluate(FIT)
    page.wait_for_timeout(1000)
    return page.evaluate(VIEW)


def test_a_box_is_drawn_on_the_picture(opened):
    page, _ = opened
    left, top, width, height = open_view(page)
    page.mouse.move(left + 0.05 * width, top + 0.1 * height)
    page.mouse.down()
    page.mouse.move(left + 0.3 * width, top + 0.5 * height, steps=3)
    page.mouse.move(left + 0.45 * width, top + 0.9 * height, steps=3)
    page.mouse.up()
    values = page.evaluate(VALUES)
    drawn = [values["x"] / SIZE[0], values["y"] / SIZE[1], values["width"] / SIZE[0], values["height"] / SIZE[1]]
    assert drawn == pytest.approx([0.05, 0.1, 0.4, 0.8], abs=NEAR)
    assert values["pick"] == "box"


def test_points_are_clicked_saved_as_text_and_taken_away(opened):
    page, _ = opened
    left, top, width, height = open_view(page)
    page.get_by_role("button", name="Point +").first.click()
    page.mouse.click(left + 0.2 * width, top + 0.6 * height)
    page.keyboard.down("Shift")
    page.mouse.click(left + 0.7 * width, top + 0.5 * height)
    page.keyboard.up("Shift")
    values = page.evaluate(VALUES)
    assert values["pick"] == "point"
    for name, x, y in (("points", 0.2, 0.6), ("negative_points", 0.7, 0.5)):
        point, = json.loads(values[name])
        assert [point["x"] / SIZE[0], point["y"] / SIZE[1]] == pytest.approx([x, y], abs=NEAR)
    saved = page.evaluate("() => app.graph.serialize()")
    node = next(node for node in saved["nodes"] if node["type"] == "BiRefSubject")
    assert node["widgets_values"][-2:] == [values["points"], values["negative_points"]]
    page.mouse.click(left + 0.2 * width, top + 0.6 * height)
    assert page.evaluate(VALUES)["points"] == ""


def test_a_line_stays_on_each_node_and_is_not_saved(opened, host, object_info):
    page, said = opened
    host.free()  # a node that does not run again has nothing to say
    open_view(page)
    said.clear()
    run(page, outputs(page))
    lines = page.evaluate(LINES)
    assert "covers" in lines["BiRefSubject"] and "in a box of" in lines["BiRefInspect"]
    saved = page.evaluate("() => app.graph.serialize()")
    for node in saved["nodes"]:
        if node["type"].startswith("BiRef"):
            assert len(node["widgets_values"]) == len(widgets(object_info[node["type"]]))
    assert [line for line in said if "/extensions/comfyui-biref" in line] == []
