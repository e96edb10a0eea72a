"""Workflows made with other packs open here: queued over the API, and on the page with its button for missing
nodes.

other_packs/ holds saved workflows written by hand from those packs' sources. Hosts before 0.14 replace
nothing.
"""

from __future__ import annotations

import copy
import json
import shutil
import urllib.error
from pathlib import Path

import pytest
from browser import drop, open_page, run
from host import Host, Workflow, iou, values
from known import LEAST_IOU
from workflow import load, node

OTHERS = Path(__file__).parent / "other_packs"
NANO = Path(__file__).parents[2] / "weights" / "birefnet-nano.safetensors"


@pytest.fixture(scope="module")
def offered(host) -> dict[str, list[dict]]:
    try:
        return host.get("/node_replacements")
    except urllib.error.HTTPError:
        pytest.skip("this host replaces no nodes")


@pytest.fixture(scope="module", autouse=True)
def general(host):
    """A checkpoint under the name that ComfyUI_BiRefNet_ll gives BiRefNet; this one is small."""
    file = host.base / "models" / "BiRefNet" / "General.safetensors"
    shutil.copy(NANO, file)
    yield
    file.unlink()


def shown(picture: dict, **more) -> Workflow:
    return {"photo": node("LoadImage", image="example.png"), "rembg": picture,
            "saved": node("SaveImage", images=["rembg", 0], filename_prefix="other"),
            "mask": node("MaskPreview", mask=["rembg", 1])} | more


def from_api(workflow: Workflow, photo: str) -> Workflow:
    """The API form, with a title for each node, which the page adds and the host expects."""
    workflow = copy.deepcopy(workflow)
    workflow["photo"]["inputs"]["image"] = photo
    return {name: {**content, "_meta": {"title": name}} for name, content in workflow.items()}


ADVANCED = {"width": 512, "height": 512, "upscale_method": "bilinear", "blur_size": 91, "blur_size_two": 7,
            "fill_color": False, "color": 0, "mask_threshold": 0.0}
FETCHED = node("AutoDownloadBiRefNetModel", model_name="General", device="AUTO", dtype="float32")
LOADED = node("LoadRembgByBiRefNetModel", model="General.safetensors", device="AUTO", use_weight=False,
              dtype="float32")
WIRED = {"model": ["model", 0], "images": ["photo", 0]}
WORKFLOWS = {
    "advanced": shown(node("RembgByBiRefNetAdvanced", **WIRED, **ADVANCED), model=FETCHED),
    "an older release's loader": shown(node("RembgByBiRefNet", **WIRED), model=node(
        "AutoDownloadBiRefNetModel", model_name="General", device="AUTO")),
    "simple": shown(node("RembgByBiRefNet", **WIRED), model=LOADED),
    "one node": shown(node("BiRefNetRMBG", image=["photo", 0], model="BiRefNet-general", sensitivity=1.0,
                           mask_blur=0,
                           mask_offset=0, invert_output=False, refine_foreground=False, background="Alpha",
                           background_color="#222222")),
    "main node": shown(node("RMBG", image=["photo", 0], model="BiRefNet-general", sensitivity=1.0,
                            process_res=1024,
                            mask_blur=0, mask_offset=0, invert_output=False, refine_foreground=False,
                            background="Alpha", background_color="#222222")),
    "zho": shown(node("BiRefNet_Zho", birefnetmodel=["model", 0], image=["photo", 0]),
                 model=node("BiRefNet_ModelLoader_Zho", birefnet_model="General.safetensors")),
    "layer style": shown(node("LayerMask: BiRefNetUltraV2", image=["photo", 0], birefnet_model=["model", 0],
                              detail_method="VITMatte", detail_erode=4, detail_dilate=2, black_point=0.01,
                              white_point=0.99, process_detail=False, device="cuda", max_megapixels=2.0),
                         model=node("LayerMask: LoadBiRefNetModelV2", version="BiRefNet-General")),
    "mask only": {"photo": node("LoadImage", image=""), "model": LOADED,
                  "mask": node("MaskPreview", mask=["rembg", 0]),
                  "rembg": node("GetMaskByBiRefNet", **WIRED, width=512, height=512,
                                upscale_method="bilinear",
                                mask_threshold=0.0)},
}


def test_every_replacement_names_inputs_and_outputs_that_exist(host, offered, object_info):
    ours = {old: found[0] for old, found in offered.items() if found[0]["new_node_id"].startswith("BiRef")}
    assert {"AutoDownloadBiRefNetModel", "LoadRembgByBiRefNetModel", "RembgByBiRefNet",
            "RembgByBiRefNetAdvanced",
            "GetMaskByBiRefNet", "BiRefNetRMBG", "RMBG", "BiRefNet_ModelLoader_Zho", "BiRefNet_Zho",
            "LayerMask: LoadBiRefNetModel", "LayerMask: LoadBiRefNetModelV2", "LayerMask: BiRefNetUltraV2",
            "LoadBackgroundRemovalModel", "RemoveBackground"} <= set(ours)
    for replacement in ours.values():
        new = object_info[replacement["new_node_id"]]
        mapped = {item["new_id"] for item in replacement["input_mapping"]}
        assert set(new["input"]["required"]) <= mapped  # the API fills in no defaults
        assert mapped <= {name for group in new["input"].values() for name in group}
        assert all(item["new_idx"] < len(new["output"]) for item in replacement["output_mapping"])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_queued_workflow_of_another_pack_runs(host, offered, photo, known, name):
    pictures = host.pictures(host.run(from_api(WORKFLOWS[name], photo)))
    mask = values(pictures["mask"][0], 0)
    assert iou(mask, known) > LEAST_IOU
    if "saved" in pictures:
        assert pictures["saved"][0].mode == "RGBA"
        assert abs(values(pictures["saved"][0], 3) - mask).max() < 2 / 255  # image and mask are not swapped


def test_what_was_chosen_in_the_other_pack_is_what_runs(host, offered, photo):
    other = host.pictures(host.run(from_api(WORKFLOWS["mask only"], photo)))["mask"][0]
    own = {"photo": node("LoadImage", image=photo), "model": load("BiRefNet"),
           "rembg": node("BiRefSegment", model=["model", 0], image=["photo", 0], size=512, frames_per_pass=0),
           "mask": node("MaskPreview", mask=["rembg", 0])}
    assert host.pictures(host.run(own))["mask"][0].tobytes() == other.tobytes()


@pytest.mark.parametrize("name, wanted", [
    ("advanced", {"BiRefLoad": {"checkpoint": "General", "dtype": "auto", "device": "auto", "fetch": True},
                  "BiRefSegment": {"size": 512, "frames_per_pass": 0}}),
    ("simple",
     {"BiRefLoad": {"checkpoint": "General.safetensors", "dtype": "auto", "device": "auto", "fetch": False},
                "BiRefSegment": {"size": 0, "frames_per_pass": 0}}),
    ("one node", {"BiRefRemoveBackground": {"checkpoint": "BiRefNet-general", "background": "transparent",
                                            "clean_edges": True, "fetch": False}}),
])
def test_the_page_replaces_and_runs(host: Host, offered, name, wanted):
    with open_page(host.address, []) as page:
        drop(page, OTHERS / f"{name}.json")
        page.get_by_role("button", name="Show swap nodes").click()
        page.get_by_role("button", name="Replace All", exact=True).click()
        page.wait_for_function("kinds => kinds.every(kind => app.graph._nodes.some(node => node.type === "
                               "kind))",
                               arg=list(wanted))
        asked = page.evaluate("async () => (await app.graphToPrompt()).output")
        values_of = {node["class_type"]: node["inputs"] for node in reversed(asked.values())}
        for kind, inputs in wanted.items():
            assert values_of[kind].items() >= inputs.items()
        run(page,
            [number for number, node in asked.items() if node["class_type"] in ("SaveImage", "MaskPreview")])
        assert page.evaluate("() => app.graph._nodes.filter(node => node.has_errors).length") == 0
    saved = json.loads((OTHERS / f"{name}.json").read_text(encoding="utf-8"))
    assert len(asked) == len(saved["nodes"])
