"""Takes the templates' cards: each one dropped on the real page, run on test photographs, and pictured.

    python tests/host/cards.py COMFYUI [TEMPLATE...]

COMFYUI_PYTHON names the interpreter that has the packages of that ComfyUI, if not this one. All templates, or only
those that are named.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from browser import drop, open_page, outputs, picture, run
from given import PAIRS, cracks, give, walls
from host import PACK, Host
from known import DATA
from PIL import Image
from playwright.sync_api import Page

TEMPLATES = sorted((PACK / "example_workflows").glob("*.json"))
WIDTH = 1200  # of a card in pixels
LESSON = 30   # pictures that are learned from

# The photographs for a template's Load Image nodes, in the order of their numbers; the dandelion where nothing is said.
PHOTOS = {
    "Portrait": ["face.png"],
    "Product on a New Background": ["cup.png", "brick.jpg"],
    "Replace the Background by Inpainting": ["face.png"],
    "Inpaint the Subject": ["face.png"],
    "Pick One of Several": ["pair.jpg"],
    "Fine-tune on Your Pictures": ["wall.png"],
}
CROPPED = {"face.png": ("astronaut.jpg", (100, 0, 340, 240)), "cup.png": ("pair.jpg", (600, 150, 1160, 640))}

# What is chosen for these photographs: node, then widgets.
CHOICES = {
    "Pick One of Several": {"BiRefSubject": {"x": 698, "y": 256, "width": 363, "height": 333}},
    "Fine-tune on Your Pictures": {"BiRefFinetune": {"steps": 60, "batch": 2}},
    "Product on a New Background": {"BiRefRefineMask": {"black_point": 0.3, "fill_holes": 12000}},
}

SET = """([node, values]) => {
    for (const [name, value] of Object.entries(values)) {
        const widget = app.graph.getNodeById(node).widgets.find(widget => widget.name === name);
        widget.value = value;
        widget.callback?.(value);
    }
}"""
NODES = "kind => app.graph._nodes.filter(node => node.type === kind).sort((a, b) => a.id - b.id).map(node => node.id)"


def put_files(folder: Path) -> None:
    """All that the templates ask for, before the page lists what there is. Image models are empty files: they do not
    run, but nothing is marked as missing."""
    give(folder / "input")
    for photo in DATA.glob("*.jpg"):
        shutil.copy(photo, folder / "input")
    for name, (photo, box) in CROPPED.items():
        Image.open(DATA / photo).crop(box).save(folder / "input" / name)
    walls(folder / "input" / PAIRS, LESSON)
    wall = cracks.pictures("held out", 7, 0)[0][6]  # of bricks
    Image.fromarray((wall * 255).round().byte().numpy()).save(folder / "input" / "wall.png")
    for template in TEMPLATES:
        for node in json.loads(template.read_text(encoding="utf-8"))["nodes"]:
            for model in node["properties"].get("models", []):
                file = folder / "models" / model["directory"] / model["name"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()


def set_up(page: Page, name: str) -> None:
    for node, photo in zip(page.evaluate(NODES, "LoadImage"), PHOTOS.get(name, ["dandelion.jpg"])):
        page.evaluate(SET, [node, {"image": photo}])
    for kind, values in CHOICES.get(name, {}).items():
        for node in page.evaluate(NODES, kind):
            page.evaluate(SET, [node, values])


def take(page: Page, card: Path) -> None:
    picture(page, card)
    with Image.open(card) as taken:
        small = taken.resize((WIDTH, round(taken.height * WIDTH / taken.width)), Image.Resampling.LANCZOS)
    small.save(card, quality=82, optimize=True)
    print(card)


def main(comfyui: Path, wanted: list[str]) -> None:
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as base, Host(comfyui, Path(base), python) as host:
        put_files(host.base)
        with open_page(host.address, []) as page:
            for template in TEMPLATES:
                if wanted and template.stem not in wanted:
                    continue
                drop(page, template)
                set_up(page, template.stem)
                run(page, outputs(page), alone=True, seconds=1800)
                take(page, template.with_suffix(".jpg"))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
