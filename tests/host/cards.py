"""Takes the templates' cards: each one dropped on the real page, run on test photographs, and pictured.

    python tests/host/cards.py COMFYUI [TEMPLATE...]

COMFYUI_PYTHON names the interpreter that has the packages of that ComfyUI, if not this one. Take a new one: nodes tell
their results there. All templates, or only those that are named.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from browser import FIT, drop, open_page, outputs, picture, run
from given import PAIRS, PARTS, cracks, give, part, walls
from host import PACK, Host
from known import DATA
from layout import overlaps
from PIL import Image
from playwright.sync_api import Page

TEMPLATES = sorted((PACK / "example_workflows").glob("*.json"))
WIDTH = 1200  # of a card in pixels
LESSON = 30   # pictures that are learned from

# The photographs for a template's Load Image nodes, in the order of their numbers; the cup where nothing is said.
PHOTOS = {
    "Refine the Matte": ["dandelion.jpg"],
    "New Background": ["figure.png"],
    "Portrait": ["face.png"],
    "Product on a New Background": ["cup.png", "surface.png"],
    "Replace the Background by Inpainting": ["face.png"],
    "Inpaint the Subject": ["face.png"],
    "Pick One of Several": ["pair.jpg"],
    "Compare Two Checkpoints": ["camera.jpg"],
    "Fine-tune on Your Pictures": ["wall.png"],
}

# What is chosen for these photographs: node, then widgets. That fewer steps were made is told in Fine-tune's note.
CHOICES = {
    "Pick One of Several": {"BiRefSubject": {"x": 698, "y": 256, "width": 363, "height": 333}},
    "Fine-tune on Your Pictures": {"BiRefFinetune": {"steps": 60, "batch": 2}},
}

SET = """([node, values]) => {
    for (const [name, value] of Object.entries(values)) {
        const widget = app.graph.getNodeById(node).widgets.find(widget => widget.name === name);
        widget.value = value;
        widget.callback?.(value);
    }
}"""

# Whether a node shows this photograph.
SEEN = "([node, photo]) => app.graph.getNodeById(node).imgs?.some(shown => shown.complete && shown.src.includes(photo))"

# Whether these nodes show all the pictures that they made; the page fetches one when it first has to draw it.
SHOWN = """nodes => nodes.every(node => {
    const made = (app.nodeOutputs[node].images ?? []).filter(file => file.filename.endsWith('.png'));
    const shown = (app.graph.getNodeById(node).imgs ?? []).filter(picture => picture.complete);
    return shown.length >= made.length;
})"""

# The nodes of a kind, in the order of their numbers.
NODES = "kind => app.graph._nodes.filter(node => node.type === kind).sort((a, b) => a.id - b.id).map(node => node.id)"


def put_files(folder: Path) -> None:
    """All that the templates ask for, before the page lists what there is. Image models are empty files: they do not
    run, but nothing is marked as missing."""
    give(folder / "input")
    for photo in DATA.glob("*.jpg"):
        shutil.copy(photo, folder / "input")
    for name in PARTS:
        part(name).save(folder / "input" / name)
    surface().save(folder / "input" / "surface.png")
    walls(folder / "input" / PAIRS, LESSON)
    wall = cracks.pictures("held out", 7, 0)[0][6]  # of bricks
    Image.fromarray((wall * 255).round().byte().numpy()).save(folder / "input" / "wall.png")
    for template in TEMPLATES:
        for node in json.loads(template.read_text(encoding="utf-8"))["nodes"]:
            for model in node["properties"].get("models", []):
                file = folder / "models" / model["directory"] / model["name"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()


def surface(width: int = 1000, height: int = 800) -> Image.Image:
    """A bluish wall that turns into a light ground, for products."""
    wall, ground = np.array([189, 196, 204]), np.array([247, 245, 240])
    down = np.linspace(0, 1, height)[:, None, None]
    colours = wall + (ground - wall) * down**2 * (3 - 2 * down)
    return Image.fromarray(np.broadcast_to(colours.round().astype(np.uint8), (height, width, 3)))


def set_up(page: Page, name: str) -> None:
    page.evaluate(FIT)
    for node, photo in zip(page.evaluate(NODES, "LoadImage"), PHOTOS.get(name, ["cup.png"])):
        page.wait_for_function(SEEN, arg=[node, "example.png"])  # or it might come late, and stay
        page.evaluate(SET, [node, {"image": photo}])
        page.wait_for_function(SEEN, arg=[node, photo])
    for kind, values in CHOICES.get(name, {}).items():
        for node in page.evaluate(NODES, kind):
            page.evaluate(SET, [node, values])


def take(page: Page, card: Path, nodes: list[str]) -> None:
    """The picture of the page, once it shows what these nodes made."""
    page.evaluate(FIT)
    page.wait_for_function(SHOWN, arg=nodes)
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
                host.free()  # else nodes that the last template shared would not run, nor tell their result
                drop(page, template)
                set_up(page, template.stem)
                nodes = outputs(page)
                run(page, nodes, alone=True, seconds=1800)
                assert overlaps(page) == [], template.stem
                take(page, template.with_suffix(".jpg"), nodes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
