"""Makes the templates' cards: a template's input and its result, side by side.

    python tests/host/cards.py COMFYUI [TEMPLATE...]

COMFYUI_PYTHON names the interpreter with that ComfyUI's packages, if it is not this one. TEMPLATE: the
beginning of a file name; by default, all cards are made.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import av
import numpy as np
from host import PACK, Host
from known import DATA
from PIL import Image
from workflow import DETECTORS, Workflow, to_api, with_stand_ins

TEMPLATES = sorted((PACK / "example_workflows").glob("*.json"))
SAMPLES = PACK / "example_workflows" / "input"
WIDTH, GAP = 1200, 6  # pixels of a card, and between its pictures
TILE = 16             # pixels: side of a checkerboard's square
QUALITY = 85          # of JPEG

# Templates whose result is not that of Save Image → the kinds of nodes that show it.
RESULTS = {"Compare Two Checkpoints": ("MaskPreview",), "Fine-tune on Your Pictures": ("MaskPreview",),
           "Fine-tune and Export": ("MaskPreview",),
           "Replace the Background by Inpainting": ("PreviewImage", "MaskPreview"),
           "Inpaint the Subject": ("PreviewImage", "MaskPreview"),
           "Pick by Words (SAM3)": ("MaskPreview", "SaveImage"),
           "Pick by Detector (RT-DETR)": ("PreviewImage", "SaveImage")}
# Stand for the results of the detectors, whose files are missing: a file of tests/data, a box in pair.jpg.
FOUND_MASK = "pair_coffee_mask.png"
FOUND_BOX = {"x": 54, "y": 144, "width": 498, "height": 496, "label": "person", "score": 0.9}
ENDS = {"Follow One Subject"}  # whose card shows the first and the last frame of the result
ALL_SHOWN = {"Catalogue of Products"}  # whose card shows every result, not only the first of each node
SHORT = {"BiRefFinetune": {"steps": 60, "batch": 2}}  # as the template's note says: not an hour


def opened(workflow: Workflow) -> Image.Image:
    """Return a template's input: its first picture, the middle of its clip, or its folder's first photo."""
    for node in workflow.values():
        inputs = node["inputs"]
        if node["class_type"] == "LoadImage":
            return Image.open(SAMPLES / inputs["image"])
        if node["class_type"] == "LoadVideo":
            return frame_of((SAMPLES / inputs["file"]).read_bytes(), 0.5)
        if node["class_type"] == "LoadImageDataSetFromFolder":
            return Image.open(min((SAMPLES / inputs["folder"]).iterdir()))
    raise ValueError("no node opens a picture")


def frame_of(clip: bytes, share: float) -> Image.Image:
    """Return a frame of a clip. share: 0 is the first, 1 the last."""
    frames = frames_of(clip)
    return frames[round(share * (len(frames) - 1))]


def frames_of(clip: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(clip)) as video:
        stream = video.streams.video[0]
        # FFmpeg's own decoder of VP9 drops alpha.
        alpha = stream.codec_context.name == "vp9" and stream.metadata.get("alpha_mode") == "1"
        decoder = av.CodecContext.create("libvpx-vp9", "r") if alpha else None
        frames = [frame for packet in video.demux(stream) for frame in
                  (decoder.decode(packet) if decoder else packet.decode())]
    return [Image.fromarray(frame.to_ndarray(format="rgba" if alpha else "rgb24")) for frame in frames]


def results(host: Host, name: str, workflow: Workflow, record: dict) -> list[Image.Image]:
    kinds = RESULTS.get(name, ("SaveImage",))
    if any(node["class_type"] == "BiRefVideo" for node in workflow.values()):
        clip = saved_clip(host, record)
        return [frame_of(clip, share) for share in ((0, 1) if name in ENDS else (0.5,))]
    pictures = host.pictures(record)
    return [shown for kind in kinds for number in sorted(pictures, key=str)
            if workflow.get(number, {}).get("class_type") == kind
            for shown in pictures[number][:None if name in ALL_SHOWN else 1]]


def saved_clip(host: Host, record: dict) -> bytes:
    """Return the file that Matte Video has saved."""
    made = next(file for outputs in record["outputs"].values() for file in outputs.get("images", [])
                if file.get("type") == "output")
    return host.fetch("/view?" + urllib.parse.urlencode(made))


def on_checkerboard(shown: Image.Image, tile: int = TILE) -> Image.Image:
    """Convert a picture to RGB, over a checkerboard where it is transparent."""
    if shown.mode != "RGBA":
        return shown.convert("RGB")
    y, x = np.indices((shown.height, shown.width)) // tile
    board = Image.fromarray(np.where((x + y) % 2, 204, 255).astype(np.uint8)).convert("RGB")
    board.paste(shown, mask=shown.getchannel("A"))
    return board


def row(pictures: list[Image.Image]) -> Image.Image:
    """Put pictures side by side at one height, WIDTH pixels in all."""
    room = WIDTH - GAP * (len(pictures) - 1)
    height = round(room / sum(picture.width / picture.height for picture in pictures))
    whole, left = Image.new("RGB", (WIDTH, height), "white"), 0
    for picture in pictures:
        width = round(picture.width * height / picture.height)
        whole.paste(on_checkerboard(picture.resize((width, height), Image.Resampling.LANCZOS)), (left, 0))
        left += width + GAP
    return whole


def make(host: Host, wanted: tuple[str, ...] = ("",)) -> None:
    """Make the cards of the templates whose names begin with one of `wanted`."""
    object_info, mask = host.object_info(), host.upload(DATA / FOUND_MASK)
    for template in TEMPLATES:
        if not template.stem.startswith(wanted):
            continue
        began = time.monotonic()
        workflow = to_api(json.loads(template.read_text(encoding="utf-8")), DETECTORS | object_info)
        # Nodes that depend on an image model are removed.
        workflow = with_stand_ins(workflow, object_info, mask, [FOUND_BOX])
        for node in workflow.values():
            node["inputs"] |= SHORT.get(node["class_type"], {})
        record = host.run(workflow, seconds=1800)
        name = template.stem[len("BiRefNet 00 "):]
        shown = row([opened(workflow), *results(host, name, workflow, record)])
        card = template.with_suffix(".jpg")
        shown.save(card, quality=QUALITY, optimize=True)
        print(f"{card}: {shown.width}×{shown.height}, {card.stat().st_size / 1000:.0f} kB, "
              f"{time.monotonic() - began:.0f} s", flush=True)


def main(comfyui: Path, wanted: list[str]) -> None:
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as base, Host(comfyui, Path(base), python) as host:
        make(host, tuple(wanted) or ("",))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
