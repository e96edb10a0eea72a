"""Makes the pictures of the nodes' help pages: results of the nodes in a real ComfyUI, or the nodes on its
page.

    python tests/host/pages.py COMFYUI [NODE...]

COMFYUI_PYTHON names the interpreter with that ComfyUI's packages, if it is not this one. NODE: a node's id,
such as BiRefSegment; by default, all pictures are made. Masks are by the included checkpoint, unless a
caption says that a mask is a known one.

Two are not made here: BiRefEdgeRefine's shows a photograph of 5312 pixels that is not in the repository
(tests/data/SOURCES.md names it), and BiRefFinetune's is made by tests/training/finetune/prove.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from browser import open_page, outputs, picture, run
from cards import frames_of, on_checkerboard, saved_clip
from given import THINGS, clip, thing, walls
from host import PACK, Host, Workflow
from known import DATA
from PIL import Image, ImageDraw, ImageFont, ImageOps
from playwright.sync_api import Page
from workflow import node, widgets

DOCS = PACK / "web" / "docs"
ELSEWHERE = {"BiRefEdgeRefine", "BiRefFinetune"}

# Parts of photographs that the included checkpoint mattes well: (photograph, box).
CROPPED = {"face.png": ("astronaut.jpg", (100, 0, 340, 240)), "cup.png": ("pair.jpg", (600, 150, 1160, 640)),
           "figure.png": ("pair.jpg", (0, 80, 560, 640))}
HEAD = (100, 0, 340, 180)   # of the astronaut, for the clip
BOX = (698, 256, 363, 333)  # the cup in pair.jpg: x, y, width, height
POINT = (268, 318)          # x, y on the astronaut in pair.jpg
FOLLOWED = (105, 130)       # x, y on the astronaut in the templates' clip
HOLES = 12000               # pixels: area of holes to fill, in the cup and the helmet

HEAVIEST = 90_000  # bytes: a picture's largest file
QUALITIES = (82, 76, 70, 64)  # of JPEG: the first one that keeps to HEAVIEST is used

STRIP = 24  # pixels: height of a caption
GAP = 4     # pixels between panels
TILE = 12   # pixels: side of a checkerboard's square
DARK = (24, 24, 24)  # RGB of captions and gaps

Output = list  # [id of a node, index of its output], as in workflows
Panel = tuple[str, Image.Image]  # caption and picture


# Panels -----------------------------------------------------------------------------------------------------


def stacked(panels: list[Panel], width: int = 400) -> Image.Image:
    """Stack panels, by default at the width of the page's narrow help panel (pixels)."""
    return column([row([panel], width) for panel in panels])


def captioned(panel: Panel, height: int) -> Image.Image:
    """Draw a panel below its caption. height: of the picture in pixels, without the caption."""
    caption, shown = panel
    width = round(shown.width * height / shown.height)
    whole = Image.new("RGB", (width, height + STRIP), DARK)
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    assert draw.textlength(caption, font) <= width - 8, f"no room for {caption!r} in {width} pixels"
    draw.text((6, STRIP // 2), caption, fill="white", font=font, anchor="lm")
    whole.paste(on_checkerboard(shown.resize((width, height), Image.Resampling.LANCZOS), TILE), (0, STRIP))
    return whole


def row(panels: list[Panel], width: int) -> Image.Image:
    """Put panels side by side at one height, `width` pixels in all."""
    height = round((width - GAP * (len(panels) - 1)) / sum(shown.width / shown.height for _, shown in panels))
    parts = [captioned(panel, height) for panel in panels]
    whole = Image.new("RGB", (width, height + STRIP), DARK)
    left = 0
    for part in parts:
        whole.paste(part, (left, 0))
        left += part.width + GAP
    return whole


def column(rows: list[Image.Image]) -> Image.Image:
    """Stack rows of one width."""
    whole = Image.new("RGB", (rows[0].width, sum(part.height + GAP for part in rows) - GAP), DARK)
    top = 0
    for part in rows:
        whole.paste(part, (0, top))
        top += part.height + GAP
    return whole


# A host to try nodes in -------------------------------------------------------------------------------------


class Bench:
    """Runs workflows; widgets that a workflow leaves out get their defaults."""

    def __init__(self, host: Host):
        self.host, self.info = host, host.object_info()
        self.input = host.base / "input"

    def panels(self, workflow: Workflow, shown: dict[str, Output]) -> list[Panel]:
        """Run a workflow; return the first picture or mask of each of these outputs, by caption."""
        return [(caption, pictures[0]) for caption, pictures in self.batches(workflow, shown).items()]

    def batches(self, workflow: Workflow, shown: dict[str, Output]) -> dict[str, list[Image.Image]]:
        """Run a workflow; return all pictures or masks of each of these outputs, by caption."""
        viewers = {f"view {caption}": self.viewer(workflow, output) for caption, output in shown.items()}
        whole = {name: self.filled(made) for name, made in (workflow | viewers).items()}
        record = self.host.run(whole, seconds=1800)
        pictures = self.host.pictures(record)
        return {caption: pictures[f"view {caption}"] for caption in shown}

    def viewer(self, workflow: Workflow, output: Output) -> dict:
        name, number = output
        if self.info[workflow[name]["class_type"]]["output"][number] == "MASK":
            return node("MaskPreview", mask=output)
        return node("PreviewImage", images=output)

    def filled(self, made: dict) -> dict:
        defaults = {name: default(kind, options)
                    for name, kind, options in widgets(self.info[made["class_type"]])}
        return made | {"inputs": defaults | made["inputs"]}


def default(kind: object, options: dict) -> object:
    """Return a widget's value on a new node: its default, else the first entry of its list."""
    return options["default"] if "default" in options else (kind if isinstance(kind, list)
                                                            else options["options"])[0]


def found(photo: str, **refining) -> Workflow:
    """Return a workflow with the included checkpoint's mask, "segment", and the same refined, "mask"."""
    return {"photo": node("LoadImage", image=photo), "model": node("BiRefLoad"),
            "segment": node("BiRefSegment", model=["model", 0], image=["photo", 0]),
            "mask": node("BiRefRefineMask", mask=["segment", 0], image=["photo", 0], **refining)}


def picked(**pick) -> Workflow:
    """Return a workflow with one of the two subjects in pair.jpg, "pick"."""
    return {"photo": node("LoadImage", image="pair.jpg"), "model": node("BiRefLoad"),
            "pick": node("BiRefSubject", model=["model", 0], image=["photo", 0], **pick)}


def the_cup() -> Workflow:
    x, y, width, height = BOX
    return picked(pick="box", x=x, y=y, width=width, height=height)


# The pictures -----------------------------------------------------------------------------------------------


def segment(bench: Bench) -> Image.Image:
    return stacked(bench.panels(found("face.png"), {
        "image": ["photo", 0], "mask": ["segment", 0], "cutout": ["segment", 1]}))


def remove_background(bench: Bench) -> Image.Image:
    workflow = {"photo": node("LoadImage", image="cup.png"),
                "bare": node("BiRefRemoveBackground", image=["photo", 0]),
                "colour": node("BiRefRemoveBackground", image=["photo", 0], background="colour",
                               colour="#2c6e91")}
    return stacked(bench.panels(workflow, {
        "image": ["photo", 0], "background: transparent": ["bare", 0],
        "background: colour, #2c6e91": ["colour", 0]}))


def subject(bench: Bench) -> Image.Image:
    (asked, photo), box = bench.panels(the_cup(),
                                       {"a box, and a point": ["photo", 0], "pick: box": ["pick", 1]})
    point, = bench.panels(picked(pick="point", x=POINT[0], y=POINT[1]), {"pick: point": ["pick", 1]})
    draw, (x, y, width, height) = ImageDraw.Draw(photo), BOX
    draw.rectangle((x, y, x + width, y + height), outline="yellow", width=6)
    draw.circle(POINT, 16, fill="yellow", outline="black", width=4)
    return stacked([(asked, photo), box, point])


def refine_mask(bench: Bench) -> Image.Image:
    workflow = found("dandelion.jpg", black_point=0.3, keep_largest=1, edge_radius=16)
    return stacked(bench.panels(workflow, {
        "image": ["photo", 0], "mask before": ["segment", 0],
        "black_point, keep_largest, edge_radius": ["mask", 0]}))


def trimap(bench: Bench) -> Image.Image:
    workflow = found("face.png") | {
        "trimap": node("BiRefTrimap", mask=["segment", 0], inward=2, outward=2, unit="per cent")}
    return stacked(bench.panels(workflow, {
        "image": ["photo", 0], "mask": ["segment", 0], "trimap": ["trimap", 0]}))


def foreground(bench: Bench) -> Image.Image:
    """A part of the portrait, where hair meets the light wall."""
    green = {"background": "colour", "colour": "#0f5c32", "mask": ["segment", 0]}
    workflow = found("face.png") | {
        "clean": node("BiRefForeground", image=["photo", 0], mask=["segment", 0]),
        "before": node("BiRefComposite", image=["photo", 0], **green),
        "after": node("BiRefComposite", image=["clean", 0], **green)}
    panels = bench.panels(workflow, {
        "a part of the image": ["photo", 0], "cut out, the photograph's colours": ["before", 0],
        "cut out, estimated colours": ["after", 0]})
    hair = stacked([(caption, shown.crop((40, 10, 160, 110))) for caption, shown in panels])
    return column([hair, despilled(bench)])


def despilled(bench: Bench) -> Image.Image:
    """Simulate the portrait before a green screen that lights it: a tenth of the screen's light is added."""
    def light(levels: np.ndarray) -> np.ndarray:
        return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)

    green = light(np.array([0, 177, 64]) / 255)
    photo, mask = (np.asarray(Image.open(DATA / f"astronaut{name}").convert("RGB")) / 255
                   for name in (".jpg", "_mask.png"))
    linear = (light(photo) + 0.1 * green) * mask + green * (1 - mask)
    stored = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).clip(0, 1)
    Image.fromarray(np.uint8(np.rint(stored * 255))).save(bench.input / "screen.png")
    grey = {"background": "colour", "colour": "#808080", "mask": ["mask", 0]}
    workflow = {"photo": node("LoadImage", image="screen.png"),
                "mask": node("LoadImageMask", image="astronaut_mask.png", channel="red"),
                "plain": node("BiRefForeground", image=["photo", 0], mask=["mask", 0]),
                "clean": node("BiRefForeground", image=["photo", 0], mask=["mask", 0], despill="measured"),
                "before": node("BiRefComposite", image=["plain", 0], **grey),
                "after": node("BiRefComposite", image=["clean", 0], **grey)}
    panels = bench.panels(workflow, {"lit by a green screen, despill: off": ["before", 0],
                                     "despill: measured": ["after", 0]})
    return stacked([(caption, shown.crop((60, 0, 400, 240))) for caption, shown in panels])


def composite(bench: Bench) -> Image.Image:
    """Six backgrounds. Holes in the checkpoint's masks are filled."""
    cup, figure, face = (found(f"{name}.png", fill_holes=HOLES) for name in ("cup", "figure", "face"))
    known = {"photo": node("LoadImage", image="astronaut.jpg"),
             "mask": node("LoadImageMask", image="astronaut_mask.png", channel="red")}
    jobs = [("colour, contact shadow, centre", cup, None,
             {"colour": "#eae2d8", "shadow": "contact", "position": "centre", "scale": 0.85}),
            ("image, fit: tile, drop shadow", cup, "brick.jpg",
             {"background": "image", "fit": "tile", "shadow": "drop", "shadow_x": 3, "shadow_y": 5}),
            ("blurred original (known mask)", known, None,
             {"image": ["photo", 0], "background": "blurred original", "blur": 2, "linear_light": True}),
            ("canvas: background image, bottom", figure, "rocket.jpg",
             {"background": "image", "canvas": "background image", "position": "bottom", "scale": 0.85,
              "x": -130}),
            ("blurred image, light_wrap: 0.5", face, "raccoon.jpg",
             {"background": "blurred image", "light_wrap": 0.5}),
            ("transparent, contact shadow", cup, None, {"background": "transparent", "shadow": "contact"})]
    panels = [(caption, over(bench, *job)) for caption, *job in jobs]
    return stacked(panels, 290)


def over(bench: Bench, matted: Workflow, backdrop: str | None, settings: dict) -> Image.Image:
    """Composite the subject with these settings, in its estimated colours unless they name another image."""
    workflow = matted | {"clean": node("BiRefForeground", image=["photo", 0], mask=["mask", 0])}
    inputs = {"image": ["clean", 0], "mask": ["mask", 0]} | settings
    if backdrop:
        workflow["backdrop"] = node("LoadImage", image=backdrop)
        inputs["background_image"] = ["backdrop", 0]
    workflow["result"] = node("BiRefComposite", **inputs)
    return bench.panels(workflow, {"result": ["result", 0]})[0][1]


def around_the_cup() -> Workflow:
    return the_cup() | {"crop": node("BiRefInpaintCrop", image=["photo", 0], mask=["pick", 0],
                                     megapixels=0.25)}


def inpaint_crop(bench: Bench) -> Image.Image:
    return stacked(bench.panels(around_the_cup(), {
        "the picture": ["photo", 0], "image: the crop": ["crop", 0], "mask: what to repaint": ["crop", 1]}))


def inpaint_paste(bench: Bench) -> Image.Image:
    """Swapped red and blue channels stand for a diffusion model's result."""
    crop, = bench.panels(around_the_cup(), {"the crop": ["crop", 0]})
    red, green, blue = crop[1].convert("RGB").split()
    Image.merge("RGB", (blue, green, red)).save(bench.input / "repainted.png")
    workflow = around_the_cup() | {"repainted": node("LoadImage", image="repainted.png"),
                                   "pasted": node("BiRefInpaintPaste", crop=["crop", 2],
                                                  image=["repainted", 0])}
    return stacked([crop, *bench.panels(workflow, {
        "the crop with other colours": ["repainted", 0], "pasted back": ["pasted", 0]})])


def frame(bench: Bench) -> Image.Image:
    """The pictures of the template Catalogue of Products, and two ways of framing them."""
    for name in THINGS:
        thing(name).save(bench.input / f"{name}.png")
    width, height = 480, 400
    jobs = {"the photographs": None,
            "position: bottom, scale_by: height, share: 60, shadow: contact":
                {"position": "bottom", "scale_by": "height", "share": 60, "shadow": "contact",
                 "colour": "#eee9e2"},
            "background: original, margin: 10, scale_by: fit": {"background": "original", "margin": 10}}
    panels = []
    for caption, settings in jobs.items():
        beside = Image.new("RGB", (width * len(THINGS), height), DARK)
        for i, name in enumerate(THINGS):
            workflow = found(f"{name}.png", black_point=0.3, white_point=0.9, fill_holes=HOLES,
                             keep_largest=1)
            workflow["clean"] = node("BiRefForeground", image=["photo", 0], mask=["mask", 0])
            if settings:
                source = "photo" if "background" in settings else "clean"
                workflow["frame"] = node("BiRefFrame", image=[source, 0], mask=["mask", 0], width=width,
                                         height=height, **settings)
            wanted = {caption: ["frame" if settings else "photo", 0]}
            shown = bench.panels(workflow, wanted)[0][1].convert("RGB")
            beside.paste(ImageOps.pad(shown, (width, height), color=DARK), (i * width, 0))
        panels.append((caption, beside))
    return stacked(panels, 600)


def temporal(bench: Bench, frames: int = 8, noise: float = 8, gain: float = 5) -> Image.Image:
    """A clip of one photograph with changing noise, so that every change of its masks is flicker."""
    random = np.random.default_rng(0)
    with Image.open(DATA / "coffee.jpg") as whole:
        photo = np.asarray(whole.reduce(2), dtype=np.float32)
    seen = [Image.fromarray((photo + random.normal(0, noise, photo.shape)).clip(0, 255).astype(np.uint8))
            for _ in range(frames)]
    # Load Image outputs all frames of an animated PNG.
    seen[0].save(bench.input / "noisy.png", save_all=True, append_images=seen[1:])
    workflow = found("noisy.png") | {
        "smooth": node("BiRefTemporal", image=["photo", 0], mask=["segment", 0], strength=0.7)}
    masks = bench.batches(workflow, {"before": ["segment", 0], "after": ["smooth", 0]})
    return stacked([("a frame of a noisy clip", seen[0]), ("its mask", masks["before"][0]),
                    (f"flicker, {gain:g} times as bright", flicker(masks["before"], gain)),
                    ("the same, smoothed by 0.7", flicker(masks["after"], gain))])


def flicker(masks: list[Image.Image], gain: float) -> Image.Image:
    """Draw the mean change between consecutive masks, made `gain` times as bright."""
    levels = np.stack([np.asarray(mask.convert("L"), dtype=np.float32) for mask in masks])
    return Image.fromarray((gain * np.abs(np.diff(levels, axis=0)).mean(0)).clip(0, 255).astype(np.uint8))


def pairs(bench: Bench) -> Image.Image:
    """A picture and its mask on each line."""
    walls(bench.input / "walls", 3)
    batches = bench.batches({"pairs": node("BiRefPairs", folder="walls")},
                            {"im": ["pairs", 0], "gt": ["pairs", 1]})
    return column([row([(f"im/wall-{i:02}.jpg", picture), (f"gt/wall-{i:02}.png", mask)], 480)
                   for i, (picture, mask) in enumerate(zip(batches["im"], batches["gt"]))])


def inspect(bench: Bench) -> Image.Image:
    """The node writes the captions itself."""
    workflow = found("dandelion.jpg") | {
        "inspect": node("BiRefInspect", image=["photo", 0], mask=["segment", 0], size=360)}
    return bench.panels(workflow, {"comparison": ["inspect", 0]})[0][1]


def followed(bench: Bench, shown: tuple[int, ...] = (0, 6, 11)) -> Image.Image:
    """Frames of the templates' clip of two subjects, and of the result for a point in its first frame."""
    x, y = FOLLOWED
    workflow = {"clip": node("LoadVideo", file="birefnet-two-subjects.mp4"), "model": node("BiRefLoad"),
                "video": node("BiRefVideo", model=["model", 0], video=["clip", 0],
                              points=json.dumps([{"x": x, "y": y}]))}
    record = bench.host.run({name: bench.filled(made) for name, made in workflow.items()})
    before = frames_of((bench.input / "birefnet-two-subjects.mp4").read_bytes())
    after = frames_of(saved_clip(bench.host, record))
    ImageDraw.Draw(before[0]).circle(FOLLOWED, 8, fill="yellow", outline="black", width=2)
    return column([row([(f"frame {i}" + ", a point" * (i == 0), before[i]),
                        (f"frame {i} of the result", after[i])], 480) for i in shown])


PANELS: dict[str, Callable[[Bench], Image.Image]] = {
    "BiRefSegment": segment, "BiRefRemoveBackground": remove_background, "BiRefSubject": subject,
    "BiRefRefineMask": refine_mask, "BiRefTrimap": trimap, "BiRefForeground": foreground,
    "BiRefComposite": composite,
    "BiRefInpaintCrop": inpaint_crop, "BiRefInpaintPaste": inpaint_paste, "BiRefTemporal": temporal,
    "BiRefPairs": pairs, "BiRefInspect": inspect, "BiRefFrame": frame,
    "BiRefVideo-followed": followed,  # the second picture on a page
}

# Nodes on the page: kind; left, top, width (pixels); widgets; input → index of the node linked to it.
LOADER = ("BiRefLoad", [0, 0, 320], {}, {})
ON_THE_PAGE = {
    "BiRefLoad": [LOADER],
    "BiRefAdapter": [LOADER, ("BiRefAdapter", [370, 0, 270], {"adapter": "cracks.safetensors"}, {"model": 0}),
                     ("BiRefAdapter", [690, 0, 270], {"adapter": "walls/damp.safetensors", "strength": 0.6},
                      {"model": 1})],
    "BiRefExport": [LOADER, ("BiRefExport", [370, 0, 380], {"portable": True}, {"model": 0})],
    "BiRefVideo": [LOADER, ("LoadVideo", [0, 500, 320], {"file": "clip.mp4"}, {}),
                   ("BiRefVideo", [370, 0, 420], {"smoothing": 0.6}, {"model": 0, "video": 1})],
}
WIDTHS = {"BiRefLoad": 420, "BiRefAdapter": 1000, "BiRefVideo": 800, "BiRefExport": 800}  # pixels

BUILD = """nodes => {
    app.graph.clear();
    const made = [];
    for (const [kind, [x, y, width], values, from] of nodes) {
        const node = LiteGraph.createNode(kind);
        node.pos = [x, y];
        app.graph.add(node);
        node.setSize([width, node.size[1]]);
        for (const [name, value] of Object.entries(values)) {
            const widget = node.widgets.find(widget => widget.name === name);
            widget.value = value;
            widget.callback?.(value);
        }
        for (const [input, source] of Object.entries(from)) made[source].connect(0, node, input);
        made.push(node);
    }
}"""

# Whether the page plays both clips, the loaded one and the result.
BOTH_CLIPS = """() => {
    const clips = [...document.querySelectorAll('video')];
    return clips.length === 2 && clips.every(clip => clip.readyState >= clip.HAVE_CURRENT_DATA);
}"""


def on_the_page(page: Page, name: str) -> Image.Image:
    """Draw the nodes themselves on the page, after running those that write a file."""
    page.evaluate(BUILD, ON_THE_PAGE[name])
    if nodes := outputs(page):
        run(page, nodes)
        page.wait_for_timeout(3000)  # until messages about the run disappear
    if name == "BiRefVideo":
        page.wait_for_function(BOTH_CLIPS, timeout=120_000)
    with tempfile.TemporaryDirectory() as folder:
        picture(page, Path(folder) / "page.jpg")
        shown = Image.open(Path(folder) / "page.jpg").convert("RGB")
    width = WIDTHS[name]
    return shown.resize((width, round(shown.height * width / shown.width)), Image.Resampling.LANCZOS)


# All of them ------------------------------------------------------------------------------------------------


def put_files(base: Path) -> None:
    """Put the inputs of the pictures into the host's folders, before the page lists files.

    Adapters are empty files: they are only chosen, never loaded.
    """
    for photo in (*DATA.glob("*.jpg"), *DATA.glob("*_mask.png")):
        shutil.copy(photo, base / "input")
    for name, (photo, box) in CROPPED.items():
        Image.open(DATA / photo).crop(box).save(base / "input" / name)
    clip(base / "input" / "clip.mp4", Image.open(DATA / "astronaut.jpg").crop(HEAD))
    for name in ("cracks", "walls/damp"):
        file = base / "models" / "BiRefNet" / "adapters" / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def save(name: str, shown: Image.Image) -> None:
    file = DOCS / f"{name}.jpg"
    for quality in QUALITIES:
        shown.save(file, quality=quality, optimize=True)
        if file.stat().st_size <= HEAVIEST:
            break
    print(f"{file}: {shown.width}×{shown.height}, {file.stat().st_size / 1000:.0f} kB", flush=True)


def main(comfyui: Path, named: list[str]) -> None:
    """Make the pictures of the named nodes, or all, on a new host."""
    wanted = named or [*PANELS, *ON_THE_PAGE]
    if strange := set(wanted) - set(PANELS) - set(ON_THE_PAGE):
        sys.exit(f"not made here: {', '.join(sorted(strange))}; but {', '.join([*PANELS, *ON_THE_PAGE])} are")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as base, Host(comfyui, Path(base), python) as host:
        make(host, wanted)


def make(host: Host, wanted: Collection[str] = (*PANELS, *ON_THE_PAGE)) -> None:
    put_files(host.base)
    bench = Bench(host)
    for name in filter(wanted.__contains__, PANELS):
        save(name, PANELS[name](bench))
    shown = [name for name in ON_THE_PAGE if name in wanted]
    if not shown:
        return
    # Hides the badges with the pack's name above the nodes, which the picture's edge would cut off.
    host.fetch("/settings", json.dumps({"Comfy.NodeBadge.NodeSourceBadgeMode": "None"}).encode())
    with open_page(host.address, []) as page:
        for name in shown:
            save(name, on_the_page(page, name))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
