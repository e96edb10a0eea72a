"""The blueprints: the host lists them, the page's search finds them, and they run like any node."""

from __future__ import annotations

import contextlib
import json

import pytest
from browser import close_windows, open_page, run
from host import PACK
from playwright.sync_api import Page, TimeoutError
from workflow import WIDGETS

BLUEPRINTS = {path.stem: path for path in sorted((PACK / "subgraphs").glob("*.json"))}

# Links the blueprint's node, alone on the canvas: pictures to its inputs, viewers to its outputs.
WIRE = """() => {
    const [box] = app.graph._nodes;
    const add = kind => { const node = LiteGraph.createNode(kind); app.graph.add(node); return node; };
    box.inputs.forEach((input, i) => input.type === 'IMAGE' && add('LoadImage').connect(0, box, i));
    return box.outputs.map((output, i) => {
        const end = add(output.type === 'MASK' ? 'MaskPreview' : 'SaveImage');
        box.connect(i, end, 0);
        return String(end.id);
    });
}"""


# Turns the blueprint's `fetch` on, and returns the value that its loader gets: before, after, and after
# saving and opening the workflow again.
FETCH = """async () => {
    const asked = async () => Object.values((await app.graphToPrompt()).output)
        .find(node => node.class_type === 'BiRefLoad').inputs;
    const before = await asked();
    app.graph._nodes[0].widgets.find(widget => widget.name.endsWith('fetch')).value = true;
    const then = await asked();
    await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())));
    return [before, then, await asked()];
}"""


@pytest.fixture(scope="module")
def page(host):
    with open_page(host.address, []) as opened:
        yield opened


def test_the_host_lists_the_blueprints(host):
    listed = {entry["name"]: (number, entry["info"]["node_pack"])
              for number, entry in host.get("/global_subgraphs").items()}
    assert set(BLUEPRINTS) == {"Clean Cut-out (BiRefNet)", "New Background (BiRefNet)",
                               "Refined Cut-out (BiRefNet)"}
    for name, path in BLUEPRINTS.items():
        number, pack = listed[name]
        assert pack == "custom_nodes.comfyui-biref"
        assert host.get(f"/global_subgraphs/{number}")["data"] == path.read_text(encoding="ascii")
        # ASCII: the older host reads them in the system's encoding


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_holds_every_widget_of_its_nodes(object_info, name):
    """Front end 1.45 counts the inputs that are widgets to find the value of one that is linked."""
    inside, = json.loads(BLUEPRINTS[name].read_text(encoding="utf-8"))["definitions"]["subgraphs"]
    for node in inside["nodes"]:
        names = [name for group in ("required", "optional")
                 for name, spec in object_info[node["type"]]["input"].get(group, {}).items()
                 if isinstance(spec[0], list) or spec[0] in WIDGETS]
        assert [entry["name"] for entry in node["inputs"] if "widget" in entry] == names
        assert len(node["widgets_values"]) == len(names)


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_what_is_chosen_outside_is_linked_to_the_widgets_inside(name):
    """Front end 1.58 drops what is only named in proxyWidgets."""
    saved = json.loads(BLUEPRINTS[name].read_text(encoding="utf-8"))
    box, = saved["nodes"]
    inside, = saved["definitions"]["subgraphs"]
    names = [widget for _, widget in box["properties"]["proxyWidgets"]]
    assert names[:2] == ["checkpoint", "fetch"]
    assert [entry["name"] for entry in box["inputs"]] == [entry["name"] for entry in inside["inputs"]]
    links, nodes = {link["id"]: link for link in inside["links"]}, {node["id"]: node
                                                                    for node in inside["nodes"]}
    for slot, entry in enumerate(inside["inputs"]):
        for number in entry["linkIds"]:
            link = links[number]
            target = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert (link["origin_id"], link["origin_slot"], target["link"]) == (-10, slot, number)
            if entry["name"] in names:
                assert target["widget"] == {"name": entry["name"]} == box["inputs"][slot]["widget"]


def open_search(page: Page) -> None:
    """Double-click the canvas, again if the page, which may still be starting, misses the first."""
    for _ in range(5):
        page.locator("#graph-canvas").dblclick(position={"x": 700, "y": 500}, delay=60)
        with contextlib.suppress(TimeoutError):
            return page.wait_for_function("document.activeElement?.tagName === 'INPUT'", timeout=3000)
    raise AssertionError("no search opens")


def find(page: Page, name: str) -> None:
    """Add a blueprint to the empty canvas as a user does; a busy page may miss Enter at first."""
    for _ in range(4):
        close_windows(page)
        page.evaluate("() => app.graph.clear()")
        open_search(page)
        page.keyboard.type(name.removesuffix(" (BiRefNet)"), delay=20)
        page.get_by_text(name).first.wait_for()
        page.keyboard.press("Enter")
        with contextlib.suppress(TimeoutError):
            page.wait_for_function("name => app.graph._nodes.some(node => node.title === name)", arg=name,
                                   timeout=8000)
            return
    raise AssertionError(f"the search does not put {name} on the canvas")


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_is_found_by_the_search_and_runs(page, name):
    find(page, name)
    widgets = page.evaluate("() => app.graph._nodes[0].widgets.map(widget => widget.name)")
    # The settings that a user chooses are on the blueprint's node.
    assert widgets[0].endswith("checkpoint") and widgets[1].endswith("fetch")
    ends = page.evaluate(WIRE)
    run(page, ends)
    shown = page.evaluate("nodes => nodes.map(node => app.nodeOutputs[node].images.length)", ends)
    assert shown == [1] * len(ends)


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_fetch_is_set_from_outside_and_saved(page, name):
    find(page, name)
    before, then, again = page.evaluate(FETCH)
    assert before["checkpoint"] == "birefnet-nano" and before["fetch"] is False
    assert then == again == before | {"fetch": True}
