"""Every template runs as it is, and cuts a photograph whose mask is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from host import PACK, Host, iou, values
from known import LEAST_IOU
from PIL import Image
from workflow import to_api

TEMPLATES = {path.stem: path for path in sorted((PACK / "example_workflows").glob("*.json"))}
BACKGROUND = np.array([0x3A, 0x7C, 0xA5]) / 255  # the colour in the template New Background


def saved(name: str) -> dict:
    return json.loads(TEMPLATES[name].read_text(encoding="utf-8"))


def run(host: Host, object_info: dict, name: str, photo: str) -> dict[str, Image.Image]:
    """The template's last pictures by the kind of node that shows or saves them."""
    workflow = to_api(saved(name), object_info)
    for node in workflow.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = photo
    pictures = host.pictures(host.run(workflow))
    return {workflow[node]["class_type"]: found[0] for node, found in sorted(pictures.items(), key=lambda x: int(x[0]))}


def test_there_is_a_template_for_each_task():
    assert set(TEMPLATES) == {"Remove Background", "Refine the Matte", "New Background"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_runs_untouched(host, object_info, name):
    workflow = to_api(saved(name), object_info)
    assert {node["inputs"].get("image") for node in workflow.values() if node["class_type"] == "LoadImage"} == {
        "example.png"}
    pictures = host.pictures(host.run(workflow))
    shows = {node for node, content in workflow.items() if content["class_type"] in ("SaveImage", "MaskPreview")}
    assert set(pictures) == shows
    assert {picture.size for found in pictures.values() for picture in found} == {(768, 768)}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_served_with_a_card_and_tells_where_the_photo_goes(host, name):
    assert name in host.get("/workflow_templates")["comfyui-biref"]
    served = host.fetch(f"/api/workflow_templates/comfyui-biref/{name.replace(' ', '%20')}.jpg")
    assert served == TEMPLATES[name].with_suffix(".jpg").read_bytes()
    notes = [node["widgets_values"][0] for node in saved(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert "Drop your photo here" in "".join(notes)


def test_remove_background_saves_the_subject_with_transparency(host, object_info, photo, pixels, known):
    shown = run(host, object_info, "Remove Background", photo)
    cutout, mask = shown["SaveImage"], values(shown["MaskPreview"], 0)
    assert cutout.mode == "RGBA"
    assert np.abs(values(cutout, 3) - mask).max() < 2 / 255  # opaque where the mask is white
    assert np.abs(values(cutout)[..., :3] - pixels).max() < 2 / 255  # colours are straight, not multiplied
    assert iou(mask, known) > LEAST_IOU


def test_refine_the_matte_gives_a_solid_subject_the_right_way_round(host, object_info, photo, known):
    shown = run(host, object_info, "Refine the Matte", photo)
    cutout, mask = shown["SaveImage"], values(shown["MaskPreview"], 0)
    assert np.abs(values(cutout, 3) - mask).max() < 2 / 255
    assert iou(mask, known) > LEAST_IOU


def test_new_background_hides_nothing_of_the_old_one(host, object_info, photo, pixels, known):
    shown = run(host, object_info, "New Background", photo)
    picture, mask = shown["SaveImage"], values(shown["MaskPreview"], 0)[..., None]
    assert picture.mode == "RGB"
    assert np.abs(values(picture) - (mask * pixels + (1 - mask) * BACKGROUND)).max() < 3 / 255
    assert iou(mask[..., 0], known) > LEAST_IOU
