"""The model card on the loader: its data for every checkpoint, and that it does not change a workflow."""

from __future__ import annotations

import shutil

import pytest
from browser import FIT, drop, of_ours, open_page
from host import PACK
from workflow import to_api, widgets

NANO = PACK / "weights" / "birefnet-nano.safetensors"

# Chooses a checkpoint as a click in the list does.
CHOOSE = """name => {
    const widget = app.graph._nodes.find(node => node.type === 'BiRefLoad').widgets[0];
    widget.value = name;
    widget.callback(name);
}"""

CARD = """() => app.graph._nodes.find(node => node.type === 'BiRefLoad').widgets
    .find(widget => widget.name === 'card').element.innerText"""


@pytest.fixture
def mine(host):
    """Two files: an unpublished one, and one under another pack's name for BiRefNet-portrait."""
    names = ("my-cats.safetensors", "Portrait.safetensors")
    for name in names:
        shutil.copy(NANO, host.base / "models" / "BiRefNet" / name)
    yield names
    for name in names:
        (host.base / "models" / "BiRefNet" / name).unlink()


def test_there_is_a_card_for_every_checkpoint_that_the_loader_offers(host, mine):
    _, kind, options = widgets(host.object_info()["BiRefLoad"])[0]
    offered = kind if isinstance(kind, list) else options["options"]
    assert set(mine) < set(offered) <= set(host.get("/biref/checkpoints"))


def test_a_card_tells_what_matters(host, mine):
    cards = host.get("/biref/checkpoints")
    assert cards["birefnet-nano"]["here"] and cards["birefnet-nano"]["size"] == [320, 320]
    assert [name for name, card in cards.items() if card.get("nonCommercial")] == ["RMBG-2.0"]
    assert cards["RMBG-2.0"]["license"] == "CC BY-NC 4.0" and not cards["RMBG-2.0"]["here"]
    assert cards["BiRefNet_lite-2K"]["size"] == [2560, 1440] and cards["BiRefNet_dynamic"]["size"] is None
    need = [cards[name]["memory"] for name in ("birefnet-nano", "BiRefNet_lite", "BiRefNet", "BiRefNet_HR")]
    assert need == sorted(need) and 0.1e9 < need[0] < 1e9 and 0.6e9 < need[2] < 8e9
    assert "HF_TOKEN" in cards["RMBG-2.0"]["note"]
    assert cards["BiRefNet-portrait"]["here"] and cards["Portrait.safetensors"]["task"] == "People"
    assert cards["my-cats.safetensors"] == {"here": True, "file": NANO.stat().st_size}


def test_the_page_shows_the_chosen_checkpoints_card_and_saves_nothing_of_it(host, object_info):
    said = []
    with open_page(host.address, said) as page:
        drop(page, PACK / "example_workflows" / "BiRefNet 01 Remove Background.json")
        for name, wanted in [
            ("birefnet-nano",
             ["licence Apache-2.0", "on this machine", "Hair or several subjects? BiRefNet, 444 MB."]),
            ("RMBG-2.0",
             ["CC BY-NC 4.0: not for commercial use", "not on this machine (885 MB)", "Download 885 MB"]),
        ]:
            page.evaluate(CHOOSE, name)
            page.wait_for_function(f"wanted => wanted.every(text => ({CARD})().includes(text))", arg=wanted)
        page.evaluate(FIT)
        # this host may not: the card says what to do
        page.get_by_role("button", name="Download 885 MB").click()
        page.wait_for_function(f"() => ({CARD})().includes('Unset HF_HUB_OFFLINE')")
        saved = page.evaluate("() => app.graph.serialize()")
        asked = page.evaluate("async () => (await app.graphToPrompt()).output")
        page.evaluate("saved => app.loadGraphData(saved)", saved)
        again = page.evaluate("() => app.graph.serialize()")
    loader = next(node for node in saved["nodes"] if node["type"] == "BiRefLoad")
    assert len(loader["widgets_values"]) == len(widgets(object_info["BiRefLoad"]))
    assert loader["widgets_values"][0] == "RMBG-2.0"
    assert {number: node["inputs"] for number, node in asked.items()} == {
        number: node["inputs"] for number, node in to_api(saved, object_info).items()}
    assert [node.get("widgets_values") for node in again["nodes"]] == [
        node.get("widgets_values") for node in saved["nodes"]]
    assert of_ours(said) == []
