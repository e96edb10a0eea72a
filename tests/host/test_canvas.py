"""Nodes on the page, on the classic canvas and in Nodes 2.0: search, drawing on pictures, the lines."""

from __future__ import annotations

import json

import pytest
from browser import FIT, drop, has_nodes_2, of_ours, open_page, outputs, run, run_button
from host import PACK
from playwright.sync_api import Page
from workflow import widgets

PICK = PACK / "example_workflows" / "BiRefNet 06 Pick One of Several.json"
FILM = PACK / "example_workflows" / "BiRefNet 07 Video to Green Screen.json"
PLACE = PACK / "example_workflows" / "BiRefNet 03 New Background.json"
SIZE = (1200, 640)   # of its picture: width, height
PLACED = (600, 520)  # of the picture in the other template
STEM = 22           # pixels of the node from the subject's frame to the handle that turns it: web/place.js
NEAR = 0.02         # share of the picture that a small view on a zoomed-out canvas resolves

# The position of a view's picture on the page: left, top, width, height; null without a picture.
VIEW = """([kind, name]) => {
    const widgets = app.graph._nodes.find(node => node.type === kind).widgets;
    const canvas = widgets.find(widget => widget.name === name)?.element.querySelector('canvas');
    const {x, y, width, height} = canvas?.getBoundingClientRect() ?? {};
    return width > 20 && height > 20 ? [x, y, width, height] : null;
}"""
SUBJECT, COMPOSITE, WORK = ("BiRefSubject", "subject"), ("BiRefComposite", "place"), ("BiRefVideo", "work")
# Whether the page plays the file whose name begins so.
MADE = """name => [...document.querySelectorAll('video')].some(
    clip => (clip.currentSrc || clip.src).includes(name) && clip.readyState >= clip.HAVE_CURRENT_DATA)"""
VALUES = """kind => Object.fromEntries(
    app.graph._nodes.find(node => node.type === kind).widgets.map(widget => [widget.name, widget.value]))"""
# The subject's box in its picture, as the node sends it to the page.
BOX = """() => app.nodeOutputs[app.graph._nodes.find(
    node => node.type === 'BiRefComposite').id].biref_place[0].box"""
# How many pixels of the picture in Pick Subject have the colours of web/subject.js.
COLOURS_SHOWN = """() => {
    const widgets = app.graph._nodes.find(node => node.type === 'BiRefSubject').widgets;
    const canvas = widgets.find(widget => widget.name === 'subject').element.querySelector('canvas');
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const found = {box: 0, wanted: 0, unwanted: 0};
    const colours = {box: [255, 212, 0], wanted: [61, 220, 90], unwanted: [255, 77, 77]};
    for (let i = 0; i < data.length; i += 4)
        for (const [name, colour] of Object.entries(colours))
            found[name] += colour.every((level, c) => Math.abs(data[i + c] - level) < 3);
    return found;
}"""
SET = """([kind, values]) => app.graph._nodes.find(node => node.type === kind).widgets.forEach(widget => {
    if (!(widget.name in values)) return;
    widget.value = values[widget.name];
    widget.callback?.(widget.value);
})"""
# The first node that the page's search for nodes lists for each of these words.
FIRST_FOUND = """words => {
    const stores = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s;
    const search = stores.get('nodeDef').nodeSearchService;
    return Object.fromEntries(words.map(word => [word, search.searchNode(word)[0]?.name]));
}"""
LINES = """() => Object.fromEntries(app.graph._nodes.filter(node => node.type.startsWith('BiRef')).map(
    node => [node.type, node.widgets.find(widget => widget.name === 'line')?.element.textContent]))"""


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "Nodes 2.0"])
def opened(request, host):
    if request.param and not has_nodes_2(host):
        pytest.skip("Nodes 2.0 of this front end (1.32) is a draft; it came with 1.4x")
    said = []
    with open_page(host.address, said, {"Comfy.VueNodes.Enabled": request.param}) as page:
        yield page, said


def test_a_search_for_a_task_finds_its_node_first(opened, object_info):
    page, _ = opened
    wanted = {"hair": "BiRefEdgeRefine", "refine edges": "BiRefEdgeRefine"}
    if object_info["BiRefEdgeRefine"].get("search_aliases"):  # 0.3.75 knows titles alone
        wanted |= {"fur": "BiRefEdgeRefine"} | dict.fromkeys(
            ["rembg", "rmbg", "matting", "cutout", "remove bg"], "BiRefRemoveBackground")
    assert page.evaluate(FIRST_FOUND, list(wanted)) == wanted


def look_at(page: Page, view: tuple[str, str]) -> tuple[float, float, float, float]:
    """Wait until a node's view shows a picture and the whole graph is visible; return the view's position."""
    page.wait_for_function(VIEW, arg=list(view))
    page.evaluate(FIT)
    page.wait_for_timeout(1000)
    return page.evaluate(VIEW, list(view))


def open_view(page: Page) -> tuple[float, float, float, float]:
    page.evaluate("() => app.graph.clear()")
    drop(page, PICK)
    return look_at(page, SUBJECT)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*((a + b) / 2 for a, b in zip(start, end)), steps=3)
    page.mouse.move(*end, steps=3)
    page.mouse.up()


def box_of(values):
    """Return x, y, width and height as shares of the picture."""
    return [values["x"] / SIZE[0], values["y"] / SIZE[1], values["width"] / SIZE[0],
            values["height"] / SIZE[1]]


def click_two_points(page, view):
    """A point on the subject and one on what is not wanted; the node's values, in which both stand."""
    left, top, width, height = view
    page.get_by_role("button", name="Point +").first.click()
    page.mouse.click(left + 0.2 * width, top + 0.6 * height)
    page.keyboard.down("Shift")
    page.mouse.click(left + 0.75 * width, top + 0.5 * height)
    page.keyboard.up("Shift")
    values = page.evaluate(VALUES, "BiRefSubject")
    for name, x, y in (("points", 0.2, 0.6), ("negative_points", 0.75, 0.5)):
        point, = json.loads(values[name])
        assert [point["x"] / SIZE[0], point["y"] / SIZE[1]] == pytest.approx([x, y], abs=NEAR)
    return values


def test_a_box_is_drawn_on_the_picture(opened):
    page, _ = opened
    left, top, width, height = open_view(page)
    drag(page, (left + 0.05 * width, top + 0.1 * height), (left + 0.45 * width, top + 0.9 * height))
    values = page.evaluate(VALUES, "BiRefSubject")
    assert box_of(values) == pytest.approx([0.05, 0.1, 0.4, 0.8], abs=NEAR)
    assert values["pick"] == "box"


def test_points_are_clicked_saved_as_text_and_taken_away(opened):
    page, _ = opened
    left, top, width, height = open_view(page)
    values = click_two_points(page, (left, top, width, height))
    assert values["pick"] == "point"
    saved = page.evaluate("() => app.graph.serialize()")
    node = next(node for node in saved["nodes"] if node["type"] == "BiRefSubject")
    assert node["widgets_values"][-4:-2] == [values["points"], values["negative_points"]]
    page.mouse.click(left + 0.2 * width, top + 0.6 * height)
    assert page.evaluate(VALUES, "BiRefSubject")["points"] == ""


def test_a_mixture_shows_its_box_and_its_points_and_draws_both(opened):
    page, _ = opened
    left, top, width, height = open_view(page)
    page.evaluate(SET, ["BiRefSubject", {"pick": "mixture", "x": 0, "y": 0, "width": 0, "height": 0}])
    shown = page.evaluate(COLOURS_SHOWN)
    assert not any(shown.values())
    drag(page, (left + 0.1 * width, top + 0.1 * height), (left + 0.6 * width, top + 0.9 * height))
    values = click_two_points(page, (left, top, width, height))
    assert values["pick"] == "mixture"
    assert box_of(values) == pytest.approx([0.1, 0.1, 0.5, 0.8], abs=NEAR)
    shown = page.evaluate(COLOURS_SHOWN)
    assert all(shown.values()), shown
    page.get_by_role("button", name="Clear", exact=True).first.click()
    values = page.evaluate(VALUES, "BiRefSubject")
    assert (values["width"], values["points"], values["negative_points"]) == (0, "", "")


def test_the_subject_is_moved_scaled_and_turned_on_the_preview(opened, host):
    page, said = opened
    said.clear()
    host.free()  # a node that does not run again shows nothing
    page.evaluate("() => app.graph.clear()")
    drop(page, PLACE)
    page.evaluate(SET, ["BiRefComposite", {"position": "centre", "scale": 0.5}])  # as high as half the canvas
    run(page, outputs(page))
    left, top, width, height = look_at(page, COMPOSITE)
    middle = left + width / 2, top + height / 2
    handle = middle[0], middle[1] - height / 4 - STEM * page.evaluate("app.canvas.ds.scale")
    # from above the middle to the right of it
    drag(page, handle, (handle[0] + (middle[1] - handle[1]), middle[1]))
    turned = page.evaluate(VALUES, "BiRefComposite")
    assert turned["rotation"] == pytest.approx(90, abs=1)
    assert (turned["x"], turned["y"], turned["scale"]) == (0, 0, 0.5)
    drag(page, middle, (middle[0] + 0.1 * width, middle[1] - 0.2 * height))
    moved = page.evaluate(VALUES, "BiRefComposite")
    assert [moved["x"] / PLACED[0], moved["y"] / PLACED[1]] == pytest.approx([0.1, -0.2], abs=NEAR)
    assert (moved["scale"], moved["rotation"]) == (0.5, turned["rotation"])
    page.mouse.wheel(0, -100)
    assert page.evaluate(VALUES, "BiRefComposite")["scale"] == pytest.approx(0.525, abs=0.011)
    page.evaluate(SET, ["BiRefComposite", {"scale": 0.5, "rotation": 0, "x": 0, "y": 0}])
    x0, y0, x1, y1 = page.evaluate(BOX)
    high, wide = height / 4, height / 4 * (x1 - x0) / (y1 - y0)
    corner = middle[0] + wide, middle[1] + high
    drag(page, corner, (middle[0] + 1.5 * wide, middle[1] + 1.5 * high))
    scaled = page.evaluate(VALUES, "BiRefComposite")
    assert scaled["scale"] == pytest.approx(0.75, abs=0.03) and (scaled["x"], scaled["y"]) == (0, 0)
    run(page, outputs(page))
    stored = page.evaluate("async () => Object.values((await app.graphToPrompt()).output)"
                           ".find(node => node.class_type === 'BiRefComposite').inputs.scale")
    assert stored == scaled["scale"]
    assert of_ours(said) == []


def test_results_come_back_when_a_change_is_undone(opened, host):
    page, said = opened
    said.clear()
    host.free()  # a node that does not run again shows nothing
    page.evaluate("() => app.graph.clear()")
    drop(page, PLACE)
    run(page, outputs(page))
    look_at(page, COMPOSITE)
    before = page.evaluate(VALUES, "BiRefComposite")["scale"]
    page.evaluate("() => app.canvas.emitBeforeChange()")
    page.evaluate(SET, ["BiRefComposite", {"scale": 0.3}])
    page.evaluate("() => app.canvas.emitAfterChange()")
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Undo')")  # builds all nodes anew
    page.wait_for_function(f"kind => ({VALUES})(kind).scale === {before}", arg="BiRefComposite")
    page.wait_for_function(VIEW, arg=list(COMPOSITE))
    lines = page.evaluate(LINES)
    assert "covers" in lines["BiRefSegment"] and "Done" in lines["BiRefComposite"]
    assert of_ours(said) == []


def test_a_running_video_shows_its_frame_and_then_itself(opened, host):
    page, said = opened
    said.clear()
    host.free()  # a node that does not run again shows nothing
    page.evaluate("() => app.graph.clear()")
    drop(page, FILM)
    run_button(page).click()
    page.wait_for_function(VIEW, arg=list(WORK), timeout=120_000)
    # a preview of the host's own would be in its place
    page.wait_for_function(MADE, arg="green_screen", timeout=120_000)
    assert page.evaluate(VIEW, list(WORK)) is None
    assert "12 frames" in page.evaluate(LINES)["BiRefVideo"]
    assert of_ours(said) == []


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
    assert of_ours(said) == []
