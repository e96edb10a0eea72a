"""Remove Background in one node gives what the chain of nodes gives, and keeps its model between runs."""

from __future__ import annotations

import numpy as np
import pytest
from host import iou, values
from known import LEAST_IOU
from test_checkpoints import save_flat
from workflow import load, node


def remove(photo: str, **changes) -> dict:
    inputs = {"image": ["photo", 0], "checkpoint": "birefnet-nano", "background": "transparent",
              "colour": "white",
              "clean_edges": True, "fetch": False} | changes
    return {"photo": node("LoadImage", image=photo), "remove": node("BiRefRemoveBackground", **inputs),
            "image": node("PreviewImage", images=["remove", 0]),
            "mask": node("MaskPreview", mask=["remove", 1]),
            "mask image": node("PreviewImage", images=["remove", 2])}


def shown(host, workflow: dict) -> dict:
    pictures = host.pictures(host.run(workflow))
    return {name: pictures[name][0] for name in ("image", "mask", "mask image")}


def test_one_node_cuts_the_subject_out(host, photo, known):
    pictures = shown(host, remove(photo))
    assert pictures["image"].mode == "RGBA"
    mask = values(pictures["mask"], 0)
    assert iou(mask, known) > LEAST_IOU
    assert np.abs(values(pictures["image"], 3) - mask).max() < 2 / 255
    assert np.abs(values(pictures["mask image"], 0) - mask).max() < 2 / 255


def test_clean_edges_are_estimate_foregrounds(host, photo):
    chain = {"photo": node("LoadImage", image=photo), "model": load(),
             "segment": node("BiRefSegment", model=["model", 0], image=["photo", 0], size=0,
                             frames_per_pass=0),
             "foreground": node("BiRefForeground", image=["photo", 0], mask=["segment", 0],
                                method="multi-level",
                                first_blur=90, second_blur=6),
             "image": node("PreviewImage", images=["foreground", 1])}
    expected = values(host.pictures(host.run(chain))["image"][0])
    assert np.array_equal(values(shown(host, remove(photo))["image"]), expected)


def test_without_clean_edges_colours_are_the_pictures_own(host, photo, pixels):
    image = values(shown(host, remove(photo, clean_edges=False))["image"])
    assert np.abs(image[..., :3] - pixels).max() < 2 / 255


@pytest.mark.parametrize("clean_edges", [True, False])
def test_over_a_colour_it_is_flat(host, photo, clean_edges):
    pictures = shown(host, remove(photo, background="colour", colour="#3a7ca5", clean_edges=clean_edges))
    image, mask = values(pictures["image"]), values(pictures["mask"], 0)
    assert pictures["image"].mode == "RGB"
    assert np.abs(image[mask == 0] - np.array([0x3A, 0x7C, 0xA5]) / 255).max() < 2 / 255


def test_the_next_picture_finds_the_model_loaded(host, photo):
    host.run(remove(photo))
    before = host.log().count("birefnet-nano.safetensors is ")
    host.run(remove(photo, colour="black", background="colour"))
    assert host.log().count("birefnet-nano.safetensors is ") == before


def test_what_it_says_last_is_about_the_picture(host, photo):
    """Not that the model is ready, if the loader's result came from the cache."""
    lines = []

    def hear(event: str, data: dict) -> None:
        if event == "executed" and data["display_node"] == "remove":
            lines.extend((data["output"] or {}).get("biref_line", ()))

    host.run(remove(photo))
    host.watch(remove(photo, colour="teal", background="colour"), hear)
    assert lines and "ready" not in lines[-1]


def test_one_load_serves_picture_after_picture_until_the_host_frees_its_models(host, photo):
    """The host drops the results of the nodes inside this one after the prompt."""
    def loads() -> int:
        # the host logs this line for a new model
        return host.log().count("Requested to load FusedBiRefNet")

    host.free()
    host.run(remove(photo))
    before = loads()
    assert before
    for colour in ("black", "red", "blue"):
        host.run(remove(photo, colour=colour, background="colour"))
    assert loads() == before
    host.free()
    host.run(remove(photo))
    assert loads() == before + 1


def test_a_replaced_checkpoint_is_read_again(host, photo):
    file = host.base / "models" / "BiRefNet" / "replaced.safetensors"
    save_flat(file, 20)
    assert values(shown(host, remove(photo, checkpoint=file.name))["mask"], 0).min() > 0.99
    save_flat(file, -20)
    assert values(shown(host, remove(photo, checkpoint=file.name))["mask"], 0).max() < 0.01


def test_a_mistyped_colour_is_said_before_the_network_runs(host, photo):
    message = host.fail(remove(photo, background="colour", colour="wihte", checkpoint="BiRefNet_lite"))
    assert "'wihte'" in message and "BiRefNet_lite" not in message  # which is missing, too
    host.run(remove(photo, colour="wihte"))  # the colour is not used


def test_a_missing_checkpoint_is_explained(host, photo):
    assert "BiRefNet_lite" in host.fail(remove(photo, checkpoint="BiRefNet_lite"))
