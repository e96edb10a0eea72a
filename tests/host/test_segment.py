"""Segment inside the host: polarity, coverage, other sizes and channels, batches, core's nodes around
ours."""

from __future__ import annotations

import numpy as np
import pytest
from host import iou, values
from known import DATA, LEAST_IOU, MOST_OF_A_WALL
from workflow import UNCHANGED, load, node, segmented


def show_mask(workflow: dict, source: list) -> dict:
    return workflow | {"shown": node("MaskPreview", mask=source)}


def picture(host, name: str) -> dict:
    return node("LoadImage", image=host.upload(DATA / name))


@pytest.fixture(scope="module")
def direct(host, photo) -> np.ndarray:
    """The mask of the photograph as Segment gives it."""
    return masks(host, show_mask(segmented(node("LoadImage", image=photo)), ["segment", 0]))[0]


def masks(host, workflow: dict) -> list[np.ndarray]:
    return [values(shown, 0) for shown in host.pictures(host.run(workflow))["shown"]]


def test_the_subject_is_white(direct, known):
    assert iou(direct, known) > LEAST_IOU


def test_alpha_and_mask_survive_the_way_through_core_s_nodes(host, photo, direct):
    workflow = segmented(node("LoadImage", image=photo)) | {
        "inverted": node("InvertMask", mask=["segment", 0]),
        "joined": node("JoinImageWithAlpha", image=["source", 0], alpha=["inverted", 0]),
        "split": node("SplitImageWithAlpha", image=["joined", 0]),
        "back": node("InvertMask", mask=["split", 1])}
    there_and_back = masks(host, show_mask(workflow, ["back", 0]))[0]
    assert np.abs(there_and_back - direct).max() < 2 / 255


def test_the_cutout_carries_the_same_mask_the_other_way_round(host, photo, direct):
    workflow = segmented(node("LoadImage", image=photo)) | {"split": node("SplitImageWithAlpha",
                                                                          image=["segment", 1])}
    transparent = masks(host, show_mask(workflow, ["split", 1]))[0]
    assert np.abs(1 - transparent - direct).max() < 2 / 255


@pytest.mark.parametrize("feather", [0.0, 2.0])
def test_what_is_surely_subject_is_opaque_in_the_files_that_save_image_writes(host, photo, feather):
    """The host rounds down: 0.9999 would be 254."""
    source = segmented(node("LoadImage", image=photo))
    cutout = source | {"saved": node("SaveImage", images=["segment", 1], filename_prefix="opaque")}
    shown = source | {"refine": node("BiRefRefineMask", mask=["segment", 0],
                                     **UNCHANGED | {"feather": feather})}
    record = host.run(cutout | shown | {"shown": node("MaskPreview", mask=["refine", 0])})
    pictures = host.pictures(record)
    for alpha in (np.asarray(pictures["saved"][0])[..., 3], np.asarray(pictures["shown"][0])[..., 0]):
        assert (alpha == 255).mean() > 0.5 * (alpha > 250).mean() > 0.1


def test_lines_and_preview_come_to_the_page_s_own_node_of_whoever_queued_it(host):
    """Nodes replace Remove Background in a run: no page knows their ids, other pages have others there."""
    grey = {"source": node("EmptyImage", width=64, height=64, batch_size=1, color=0x808080),
            "7": node("BiRefRemoveBackground", image=["source", 0], checkpoint="birefnet-nano",
                      background="transparent",
                      colour="white", clean_edges=True, fetch=False),
            "shown": node("PreviewImage", images=["7", 0])}
    with host.listening("mine") as mine, host.listening("another's") as others:
        host.succeed(host.queue(grey, client="mine"))
    assert not [data for event, data in others if event in ("line", "executed")]
    made = [data["output"] for event, data in mine if event == "executed" and data["display_node"] == "7"]
    warnings = [line for output in made if output for line, warning in zip(
        output.get("biref_line", ()), output.get("biref_warning", ())) if warning]
    assert warnings and all(line.startswith("no subject found") for line in warnings)
    assert any(output and output.get("images") for output in made)  # the preview


def test_coverage_is_the_mean_of_the_mask(host, photo, direct):
    workflow = segmented(node("LoadImage", image=photo)) | {"text": node("PreviewAny", source=["segment", 2])}
    coverage = float(host.texts(host.run(workflow))[0])
    assert coverage == pytest.approx(direct.mean(), abs=1 / 255)


def test_a_wall_has_no_subject(host):
    workflow = segmented(picture(host, "brick.jpg")) | {"text": node("PreviewAny", source=["segment", 2])}
    assert float(host.run(workflow)["outputs"]["text"]["text"][0]) < MOST_OF_A_WALL


@pytest.mark.parametrize("height, width, channels", [(1, 1, 3), (33, 517, 3), (240, 320, 1), (240, 320, 4)])
def test_any_size_and_number_of_channels_runs(host, height, width, channels):
    odd = node("OddImage", frames=1, height=height, width=width, channels=channels, value=0.5)
    mask, = masks(host, show_mask(segmented(odd), ["segment", 0]))
    assert mask.shape == (height, width)


@pytest.mark.parametrize("value", [-3.0, 7.5])
def test_values_out_of_range_are_cleaned_and_logged(host, value):
    before = host.log().count("not in 0..1")
    odd = node("OddImage", frames=2, height=64, width=64, channels=3, value=value)
    for mask in masks(host, show_mask(segmented(odd), ["segment", 0])):
        assert np.isfinite(mask).all()
    assert host.log().count("not in 0..1") == before + 1


@pytest.mark.parametrize("per_pass", [0, 1, 2])
def test_frames_of_a_batch_keep_their_order(host, photo, direct, per_pass):
    """The photograph and a cup of coffee, together and alone."""
    cup = {"coffee": picture(host, "coffee.jpg"),
           "cup": node("ImageScale", image=["coffee", 0], upscale_method="bilinear", width=800, height=960,
                       crop="center")}
    pair = segmented(node("ImageBatch", image1=["first", 0], image2=["cup", 0]), frames_per_pass=per_pass)
    first, second = masks(host,
                          show_mask(pair | cup | {"first": node("LoadImage", image=photo)}, ["segment", 0]))
    alone, = masks(host, show_mask(segmented(cup["coffee"], image=["cup", 0]) | cup, ["segment", 0]))
    assert np.abs(first - direct).max() < 2 / 255
    assert np.abs(second - alone).max() < 2 / 255
    assert np.abs(first - second).max() > 0.5


def test_core_s_remove_background_runs_our_model(host, object_info, photo, direct):
    if "RemoveBackground" not in object_info:
        pytest.skip("this ComfyUI has no Remove Background of its own yet (0.21 has)")
    workflow = {"model": load(), "source": node("LoadImage", image=photo),
                "core": node("RemoveBackground", bg_removal_model=["model", 0], image=["source", 0])}
    assert np.abs(masks(host, show_mask(workflow, ["core", 0]))[0] - direct).max() < 2 / 255


def test_a_result_from_the_cache_says_its_line_again(host, object_info, photo):
    if "has_intermediate_output" not in object_info["BiRefSegment"]:
        pytest.skip("this host sends the page nothing of nodes whose results it has")
    workflow = show_mask(segmented(node("LoadImage", image=photo)), ["segment", 0])
    host.run(workflow)
    heard = []
    host.watch(workflow, lambda event, data: heard.append(data) if event == "executed" else None)
    said, = (data["output"]["biref_line"] for data in heard if data["node"] == "segment")
    assert said[0].startswith("The subject covers")
