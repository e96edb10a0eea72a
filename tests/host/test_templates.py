"""Every template runs as it is, and does what it says on photographs whose masks are known."""

from __future__ import annotations

import functools
import io
import json
import urllib.parse

import av
import numpy as np
import onnxruntime
import pytest
import torch
from browser import drop, has_nodes_2, open_page
from host import PACK, Host, Refused, iou, values
from known import DATA, LEAST_IOU
from layout import faults
from PIL import Image
from workflow import DETECTORS, Workflow, to_api, with_stand_ins, without

from birefnet import masks
from birefnet.composite import inpaint

TEMPLATES = {path.stem[len("BiRefNet 00 "):]: path
             for path in sorted((PACK / "example_workflows").glob("*.json"))}
# with an image model, which no test has
PAINTING = {"Replace the Background by Inpainting", "Inpaint the Subject"}
LEARNING = {"Fine-tune on Your Pictures", "Fine-tune and Export"}  # for minutes, at their own number of steps
DETECTING = {"Pick by Words (SAM3)", "Pick by Detector (RT-DETR)"}  # with a model of newer hosts
VIDEO = {"Video to Green Screen", "Video with Transparency", "Follow One Subject"}
SIZES = [(280, 260), (560, 490), (600, 520)]  # of the photos in the pack's folder
BACKGROUND = np.array([0x3A, 0x7C, 0xA5]) / 255  # the colour in the template New Background


@pytest.fixture(scope="module")
def listed(host) -> dict[str, dict]:
    return host.object_info()


@pytest.fixture(scope="module")
def untouched(host, listed):
    """A function that runs a template as it comes and returns its record; each only once, for some take as
    long as everything else here."""
    @functools.cache
    def run_as_it_comes(name: str) -> dict:
        return host.run(to_api(saved(name), listed))

    return run_as_it_comes


def saved(name: str) -> dict:
    return json.loads(TEMPLATES[name].read_text(encoding="utf-8"))


def notes(name: str) -> str:
    """All that a template's notes tell."""
    return "\n".join(node["widgets_values"][0] for node in saved(name)["nodes"]
                     if node["type"] == "MarkdownNote")


def workflow_of(name: str, object_info: dict, photo: str = "") -> Workflow:
    """The template as it comes, or with its pictures replaced by `photo`."""
    workflow = to_api(saved(name), object_info)
    for node in workflow.values():
        if photo and node["class_type"] == "LoadImage":
            node["inputs"]["image"] = photo
    return workflow


def shows(workflow: Workflow, object_info: dict) -> set[str]:
    """The nodes that show or save something."""
    return {number for number, node in workflow.items() if object_info[node["class_type"]]["output_node"]}


def run(host: Host, object_info: dict, name: str, photo: str) -> dict[str, Image.Image]:
    """The template's last pictures by the kind of node that shows or saves them."""
    workflow = workflow_of(name, object_info, photo)
    pictures = host.pictures(host.run(workflow))
    return {workflow[node]["class_type"]: found[0]
            for node, found in sorted(pictures.items(), key=lambda x: int(x[0]))}


def test_there_is_a_template_for_each_task():
    assert set(TEMPLATES) == {
        "Remove Background", "Refine the Matte", "New Background", "Portrait", "Product on a New Background",
        "Pick One of Several", "Compare Two Checkpoints", "Batch of a Folder", "Catalogue of Products",
        *LEARNING, *PAINTING, *DETECTING, *VIDEO}


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - PAINTING - LEARNING - DETECTING))
def test_a_template_runs_untouched(listed, untouched, name):
    assert untouched(name)["outputs"].keys() >= shows(to_api(saved(name), listed), listed)


def test_the_pack_brings_every_file_that_a_template_opens(host):
    """Also into an empty input folder, and a file of that name that is there stays as it is."""
    opened = {str(node["widgets_values"][0]) for name in TEMPLATES for node in saved(name)["nodes"]
              if node["type"] in ("LoadImage", "LoadVideo", "LoadImageDataSetFromFolder", "BiRefPairs")}
    assert {name for name in opened if not (host.base / "input" / name).exists()} == set()


def test_notes_have_no_inline_code():
    """Which Nodes 2.0 shows dark on dark."""
    assert [name for name in TEMPLATES if "`" in notes(name)] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_served_with_a_card_and_tells_where_the_photo_goes(host, name):
    # has BiRefNet in it, for the search in the list, and a number, for its order
    title = TEMPLATES[name].stem
    assert title in host.get("/workflow_templates")["comfyui-biref"]
    served = host.fetch(f"/api/workflow_templates/comfyui-biref/{title.replace(' ', '%20')}.jpg")
    assert served == TEMPLATES[name].with_suffix(".jpg").read_bytes()
    assert ("rop your clip on" if name in VIDEO else "rop your photo") in notes(name)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_note_that_names_another_checkpoint_tells_how_to_get_it(host, name):
    others = host.get("/biref/checkpoints").keys() - {"birefnet-nano"}
    if any(f"**{other}**" in notes(name) for other in others):
        assert "set **download** to *when missing*" in notes(name)


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "Nodes 2.0"])
def either_page(request, host):
    """The page with the canvas's own nodes, and with nodes of HTML, where the front end has them."""
    if request.param and not has_nodes_2(host):
        pytest.skip("Nodes 2.0 of this front end (1.32) is a draft; it came with 1.4x")
    with open_page(host.address, [], {"Comfy.VueNodes.Enabled": request.param}) as opened:
        yield opened


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_node_covers_another_or_a_link(either_page, listed, name):
    needs_detectors(name, listed)
    either_page.evaluate("() => app.graph.clear()")
    drop(either_page, TEMPLATES[name])
    assert faults(either_page, growing=True) == []


def needs_detectors(name: str, object_info: dict) -> None:
    if name in DETECTING and "SAM3_Detect" not in object_info:
        pytest.skip("this host has no detectors; 0.25 has")


@pytest.mark.parametrize("name", sorted(DETECTING))
def test_only_the_detectors_file_lacks(host, listed, name):
    needs_detectors(name, listed)
    with pytest.raises(Refused) as refused:
        host.run(workflow_of(name, listed))
    nodes = {str(node["id"]): node for node in saved(name)["nodes"]}
    faults = {(nodes[number]["type"], fault["type"], fault["extra_info"]["input_name"])
              for number, node in json.loads(str(refused.value))["node_errors"].items()
              for fault in node["errors"]}
    loader = next(node for node in nodes.values() if node["properties"].get("models"))
    assert faults == {(loader["type"], "value_not_in_list", loader_widget(loader, listed))}
    model, = loader["properties"]["models"]
    assert model["name"] == loader["widgets_values"][0] == model["url"].rsplit("/", 1)[1]
    assert model["url"].startswith("https://") and f"models/{model['directory']}" in notes(name)


def loader_widget(node: dict, object_info: dict) -> str:
    return next(iter(object_info[node["type"]]["input"]["required"]))


@pytest.mark.parametrize("name, picked", [("Pick by Words (SAM3)", "coffee"),
                                          ("Pick by Detector (RT-DETR)", "astronaut")])
def test_what_a_detector_has_found_is_cut_out(host, listed, name, picked):
    """A stand-in has found it: the detectors' files are large, and no test has them."""
    info = DETECTORS | listed
    workflow = with_stand_ins(to_api(saved(name), info), listed, host.upload(DATA / "pair_coffee_mask.png"),
                              [{"x": 54, "y": 144, "width": 498, "height": 496, "label": "person",
                                "score": 0.9}])
    pictures = host.pictures(host.run(workflow))
    cutout = next(found[0] for number, found in pictures.items()
                  if workflow[number]["class_type"] == "SaveImage")
    alpha = values(cutout, 3)
    truths = {mask: values(Image.open(DATA / f"pair_{mask}_mask.png")) for mask in ("astronaut", "coffee")}
    assert iou(alpha, truths.pop(picked)) > LEAST_IOU
    other, = truths.values()
    assert alpha[other > 0].max() == 0


def test_the_followed_subject_is_the_only_one_in_every_frame(host, untouched):
    """Over green; the other one, which stands in the right half, is not there."""
    frames, _ = video_of(host, untouched("Follow One Subject"), ".mp4")
    assert len(frames) == 12 and frames[0].shape == (256, 480, 3)
    green = np.stack([np.abs(frame.astype(int) - (0x00, 0xB1, 0x40)).max(-1) < 40 for frame in frames])
    assert (green[:, :, 260:].mean((1, 2)) > 0.97).all()
    assert (green[:, :, :240].mean((1, 2)) < 0.75).all()


@pytest.mark.parametrize("name", sorted(PAINTING))
def test_only_the_image_model_lacks_where_one_paints(host, listed, name):
    nodes = {str(node["id"]): node for node in saved(name)["nodes"]}
    answer = json.loads(host.fetch("/prompt", json.dumps({"prompt": workflow_of(name, listed)}).encode()))
    # what needs no image model runs nevertheless: the crop and its mask are shown
    host.wait(answer["prompt_id"])
    faults = [(nodes[number]["type"], fault["type"], fault["extra_info"]["input_name"])
              for number, node in answer["node_errors"].items() for fault in node["errors"]]
    assert faults == [("CheckpointLoaderSimple", "value_not_in_list", "ckpt_name")]
    loader = next(node for node in nodes.values() if node["type"] == "CheckpointLoaderSimple")
    model, = loader["properties"]["models"]  # what the page's dialog about missing models offers to download
    assert model["name"] == loader["widgets_values"][0] == model["url"].rsplit("/", 1)[1]
    assert model["url"].startswith("https://") and model["directory"] == "checkpoints"


@pytest.mark.parametrize("name, painted", [("Replace the Background by Inpainting", False),
                                           ("Inpaint the Subject", True)])
def test_the_right_side_is_painted_and_comes_at_the_models_size(host, listed, photo, known, name, painted):
    workflow = without(workflow_of(name, listed, photo), {"CheckpointLoaderSimple"})
    pictures = host.pictures(host.run(workflow))
    crop = next(number for number, node in workflow.items() if node["class_type"] == "BiRefInpaintCrop")
    by_kind = {workflow[number]["class_type"]: found[0] for number, found in pictures.items()}
    given_to_the_model, white = by_kind["PreviewImage"], values(by_kind["MaskPreview"], 0)
    assert given_to_the_model.size == by_kind["MaskPreview"].size
    assert all(side % 8 == 0 for side in given_to_the_model.size)
    area = given_to_the_model.width * given_to_the_model.height / 2**20
    assert area == pytest.approx(workflow[crop]["inputs"]["megapixels"], rel=0.1)
    if not painted:  # the whole photo is in the crop: what is painted is all but the subject
        levels = Image.fromarray((known * 255).astype(np.uint8))
        subject = np.asarray(levels.resize(given_to_the_model.size)) / 255
        assert iou(1 - white, subject) > LEAST_IOU
    assert 0.15 < white.mean() < 0.9


@pytest.mark.parametrize("name, region", [("Replace the Background by Inpainting", "background"),
                                          ("Inpaint the Subject", "subject")])
def test_haze_and_holes_deep_inside_the_subject_are_not_mistaken_for_background(listed, name, region):
    """By the settings of the template's nodes, on a subject that a weak checkpoint is unsure of inside: 40
    pixels from its edge all of it is subject."""
    nodes = {node["class_type"]: node["inputs"] for node in to_api(saved(name), listed).values()}
    refining, cropping = nodes["BiRefRefineMask"], nodes["BiRefInpaintCrop"]
    hazy = torch.zeros(1, 400, 400)
    hazy[:, 60:340, 60:340] = 1
    hazy[:, 120:200, 60:260] = 0.65  # haze from the edge on
    hazy[:, 240:270, 240:300] = 0    # a hole
    refined = masks.refine(hazy, black=refining["black_point"], white=refining["white_point"],
                           fill=refining["fill_holes"], largest=refining["keep_largest"])
    painted = inpaint.select_region(refined, region, cropping["grow"], cropping["feather"])
    assert cropping["region"] == region
    assert (painted[:, 100:300, 100:300] == (region == "subject")).all()


def test_remove_background_saves_the_subject_in_its_own_colours(host, listed, photo, pixels, known):
    shown = run(host, listed, "Remove Background", photo)
    cutout, mask = shown["SaveImage"], values(shown["MaskPreview"], 0)
    assert cutout.mode == "RGBA"
    assert np.abs(values(cutout, 3) - mask).max() < 2 / 255  # opaque where the mask is white
    changed = np.abs(values(cutout)[..., :3] - pixels).max(-1)
    assert changed[mask > 0.98].max() < 0.05  # colours are straight, not multiplied
    # the old background's are gone, also where nothing is seen of them
    assert changed[mask < 0.5].mean() > 0.1
    assert iou(mask, known) > LEAST_IOU


def test_refine_the_matte_gives_a_solid_subject_the_right_way_round(host, listed, photo, known):
    shown = run(host, listed, "Refine the Matte", photo)
    cutout, mask = shown["SaveImage"], values(shown["MaskPreview"], 0)
    assert np.abs(values(cutout, 3) - mask).max() < 2 / 255
    assert iou(mask, known) > LEAST_IOU


def test_new_background_hides_nothing_of_the_old_one(host, listed, photo, known):
    workflow = workflow_of("New Background", listed, photo)
    estimate, = (number for number, node in workflow.items() if node["class_type"] == "BiRefForeground")
    workflow["colours"] = {"class_type": "PreviewImage", "inputs": {"images": [estimate, 0]}}
    pictures = host.pictures(host.run(workflow))
    shown = {workflow[number]["class_type"]: found[0] for number, found in pictures.items()}
    picture, colours = shown["SaveImage"], shown["PreviewImage"]
    mask = values(shown["MaskPreview"], 0)[..., None]
    assert picture.mode == "RGB"
    assert np.abs(values(picture) - (mask * values(colours) + (1 - mask) * BACKGROUND)).max() < 3 / 255
    assert iou(mask[..., 0], known) > LEAST_IOU


def test_portrait_saves_the_same_matte_cut_out_and_over_a_colour(host, listed, photo, known):
    workflow = workflow_of("Portrait", listed, photo)
    pictures = host.pictures(host.run(workflow))
    kinds = {number: workflow[number]["class_type"] for number in pictures}
    cutout, studio = (pictures[number][0] for number in sorted(
        (number for number, kind in kinds.items() if kind == "SaveImage"),
        key=lambda n: -len(pictures[n][0].mode)))
    mask = values(next(pictures[number][0] for number, kind in kinds.items() if kind == "MaskPreview"), 0)
    assert (cutout.mode, studio.mode) == ("RGBA", "RGB")
    assert iou(mask, known) > LEAST_IOU
    assert np.abs(values(cutout, 3) - mask).max() < 2 / 255
    colour = np.array([0x8F, 0xA3, 0xB0]) / 255
    expected = values(cutout)[..., :3] * mask[..., None] + colour * (1 - mask[..., None])
    assert np.abs(values(studio) - expected).max() < 4 / 255


def test_product_stands_on_the_new_background(host, listed, photo):
    """The background is a picture of its own; the subject covers part of it, and a shadow darkens some
    more."""
    workflow = workflow_of("Product on a New Background", listed, photo)
    scene = np.full((600, 800, 3), 160, np.uint8)
    Image.fromarray(scene).save(host.base / "input" / "scene.png")
    composite = next(node for node in workflow.values() if node["class_type"] == "BiRefComposite")
    workflow[composite["inputs"]["background_image"][0]]["inputs"]["image"] = "scene.png"
    pictures = host.pictures(host.run(workflow))
    picture = next(found[0] for number, found in pictures.items()
                   if workflow[number]["class_type"] == "SaveImage")
    assert picture.mode == "RGB" and picture.size == (800, 600)
    grey = values(picture)
    untouched = np.abs(grey - 160 / 255).max(-1) < 2 / 255
    assert 0.1 < untouched.mean() < 0.9


def test_pick_one_finds_what_is_in_the_box(host, listed, photo, known):
    workflow = workflow_of("Pick One of Several", listed, photo)
    pick = next(node for node in workflow.values() if node["class_type"] == "BiRefSubject")
    pick["inputs"] |= {"pick": "box", "x": 80, "y": 150, "width": 720, "height": 810}
    pictures = host.pictures(host.run(workflow))
    alpha = values(next(found[0] for number, found in pictures.items()
                        if workflow[number]["class_type"] == "SaveImage"), 3)
    assert iou(alpha, known) > LEAST_IOU


def test_compare_shows_where_the_two_disagree(host, listed, photo):
    workflow = workflow_of("Compare Two Checkpoints", listed, photo)
    for number, node in list(workflow.items()):
        if node["class_type"] == "BiRefSegment":
            workflow[f"mask {number}"] = {"class_type": "MaskPreview", "inputs": {"mask": [number, 0]}}
    pictures = host.pictures(host.run(workflow))
    first, other = (values(pictures[number][0], 0) for number in sorted(pictures)
                    if number.startswith("mask"))
    shown = next(values(found[0], 0) for number, found in pictures.items()
                 if workflow[number]["class_type"] == "MaskPreview" and not number.startswith("mask"))
    clear = np.minimum(np.abs(first - 0.5), np.abs(other - 0.5)) > 2 / 255  # where eight bits do not decide
    assert (shown > 0.5)[clear].mean() > 0.0002
    assert ((shown > 0.5) == ((first > 0.5) != (other > 0.5)))[clear].all()


def test_a_folder_gives_a_cut_out_of_each_photo_at_its_own_size(host, untouched):
    cutouts, = host.pictures(untouched("Batch of a Folder")).values()
    assert sorted(cutout.size for cutout in cutouts) == SIZES
    assert {cutout.mode for cutout in cutouts} == {"RGBA"}


def test_a_catalogue_is_white_and_every_product_stands_on_one_line(host, untouched):
    pictures, = host.pictures(untouched("Catalogue of Products")).values()
    assert len(pictures) == 4
    for picture in pictures:
        assert (picture.mode, picture.size) == ("RGB", (2000, 2000))
        grey = values(picture).min(-1)
        assert (grey[:80] == 1).all() and (grey[:, :80] > 0.9).all() and (grey[:, -80:] > 0.9).all()
        coloured = np.ptp(values(picture), axis=-1) > 0.1  # the shadow is grey
        rows, columns = (np.flatnonzero(coloured.sum(axis) > 20) for axis in (1, 0))
        assert rows[-1] + 1 == pytest.approx(1840, abs=12)
        assert max(1840 - rows[0], columns[-1] - columns[0]) > 1700  # as large as the margins allow


@pytest.mark.parametrize("name, suffix",
                         [("Video to Green Screen", ".mp4"), ("Video with Transparency", ".webm")])
def test_a_video_comes_out_with_every_frame(host, untouched, name, suffix):
    frames, tags = video_of(host, untouched(name), suffix)
    alpha = tags.get("alpha_mode") or tags.get("ALPHA_MODE")
    assert len(frames) == 12 and frames[0].shape == (288, 384, 3)
    if suffix == ".mp4":
        green = np.abs(frames[6].astype(int) - (0x00, 0xB1, 0x40)).max(-1) < 40
        assert 0.1 < green.mean() < 0.9
    else:
        assert alpha == "1"


def video_of(host: Host, record: dict, suffix: str) -> tuple[list[np.ndarray], dict]:
    """The frames of the clip that a run has saved, and its stream's tags."""
    shown = [item for outputs in record["outputs"].values() for items in outputs.values()
             if isinstance(items, list)
             for item in items if isinstance(item, dict) and item.get("filename", "").endswith(suffix)]
    with av.open(io.BytesIO(host.fetch("/view?" + urllib.parse.urlencode(shown[0])))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        return frames, dict(video.streams.video[0].metadata)


def learn_a_little(host: Host, object_info: dict, name: str) -> tuple[Workflow, dict]:
    """The workflow of a template that learns, and its record, at fewer steps and a small size."""
    workflow = to_api(saved(name), object_info)
    lesson = next(node for node in workflow.values() if node["class_type"] == "BiRefFinetune")
    lesson["inputs"] |= {"steps": 2, "size": 96}
    record = host.run(workflow)
    assert record["outputs"].keys() >= shows(workflow, object_info)
    return workflow, record


def test_fine_tuning_gives_a_mask_before_and_after_at_fewer_steps(host, listed):
    workflow, record = learn_a_little(host, listed, "Fine-tune on Your Pictures")
    pictures = host.pictures(record)
    masks = [pictures[number][0] for number in sorted(pictures)
             if workflow[number]["class_type"] == "MaskPreview"]
    assert len(masks) == 2
    assert {mask.size for mask in masks} == {Image.open(host.base / "input" / "birefnet-wall.jpg").size}
    curve, = (pictures[number][0] for number in pictures if workflow[number]["class_type"] == "BiRefFinetune")
    assert curve.size == (512, 256)  # of the loss, on the node itself


def test_what_was_learned_is_in_the_exported_file(host, listed):
    workflow, record = learn_a_little(host, listed, "Fine-tune and Export")
    pictures = host.pictures(record)
    mask = next(values(pictures[number][0], 0) for number in pictures
                if workflow[number]["class_type"] == "MaskPreview")
    written = (host.base / "output" / "onnx").glob("tuned_*.onnx")
    file = max(written, key=lambda path: path.stat().st_mtime)
    photo = values(Image.open(host.base / "input" / "birefnet-wall.jpg").convert("RGB"))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    [alpha] = session.run(["alpha"], {"image": np.ascontiguousarray(photo.transpose(2, 0, 1)[None])})
    # the host decodes JPEG in its own way, and its network may be in bfloat16
    assert np.abs(alpha[0, 0] - mask).mean() < 0.01
