"""Error messages name what is wrong, what was expected, and what to do."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from host import PACK
from safetensors.torch import save
from workflow import load, node, refined, segmented

NANO = PACK / "weights" / "birefnet-nano.safetensors"


class Intruder:
    """Unpickling this runs code: it would create a file beside the checkpoint."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


BAD_FILES = {
    "page.safetensors": (lambda: b"<!DOCTYPE html><html>Not found</html>", ["web page"]),
    "half.safetensors": (lambda: NANO.read_bytes()[:100_000], ["damaged or truncated"]),
    "empty.safetensors": (lambda: b"", ["empty"]),
    "other.safetensors": (
        lambda: save({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4, 3, 3)}),
        ["BiRefNet"]),
    "text.pth": (lambda: b"just some words", ["neither"]),
}


def show(workflow: dict) -> dict:
    return workflow | {"shown": node("MaskPreview", mask=["segment", 0])}


def picture(**changes) -> dict:
    return node("OddImage", **{"frames": 1, "height": 64, "width": 64, "channels": 3, "value": 0.5} | changes)


def mask(**changes) -> dict:
    return node("OddMask", **{"frames": 1, "height": 64, "width": 64, "value": 1.0} | changes)


def with_checkpoint(name: str, **changes) -> dict:
    return show(segmented(picture()) | {"model": load(name, **changes)})


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_checkpoint(host, name):
    content, words = BAD_FILES[name]
    (host.base / "models" / "BiRefNet" / name).write_bytes(content())
    message = host.fail(with_checkpoint(name))
    assert all(word in message for word in ["BiRefLoad", *words]), message


def test_a_pickle_that_would_run_code_is_refused(host):
    target = host.base / "intruder"
    (host.base / "models" / "BiRefNet" / "evil.pth").write_bytes(pickle.dumps({"weight": Intruder(target)}))
    message = host.fail(with_checkpoint("evil.pth"))
    assert "could run code" in message
    assert not target.exists()


def test_an_unknown_checkpoint_names_the_folders_that_were_scanned(host):
    message = host.fail(with_checkpoint("nowhere.safetensors"))
    assert all(word in message for word in ["nowhere.safetensors", str(host.base / "models" / "BiRefNet"),
                                            str(host.base / "models" / "background_removal")]), message


def test_a_published_checkpoint_that_is_not_here_says_how_to_get_it(host):
    message = host.fail(with_checkpoint("BiRefNet_HR"))
    assert all(word in message for word in ["BiRefNet_HR", "fetch"]), message


def test_a_download_that_cannot_be_made_is_one_sentence(host):
    message = host.fail(with_checkpoint("BiRefNet_HR", fetch=True))  # the host runs with HF_HUB_OFFLINE=1
    assert "HF_HUB_OFFLINE" in message and "Traceback" not in message, message


def test_a_checkpoint_outside_the_models_folders_is_not_read(host):
    message = host.fail(with_checkpoint(str(NANO)))
    assert "models folders" in message


BAD_WORKFLOWS = {
    "five channels": (show(segmented(picture(channels=5))), ["1, 3 or 4 channels", "[1, 64, 64, 5]"]),
    "no pixels": (show(segmented(picture(width=0))), ["at least 1×1 pixel"]),
    "a size far too large": (show(segmented(picture(), size=100_000)), ["size", "4096"]),
    "two masks for three pictures": (refined(mask(frames=2), picture(frames=3)), ["2 masks and 3 images"]),
    "edges without a guide": (refined(mask(), edge_radius=8), ["edge_radius", "image"]),
    "black point above white point": (refined(mask(), black_point=0.8, white_point=0.2), ["black", "white"]),
}


@pytest.mark.parametrize("case", BAD_WORKFLOWS)
def test_a_setting_or_input_that_cannot_be(host, case):
    workflow, words = BAD_WORKFLOWS[case]
    message = host.fail(workflow)
    assert all(word in message for word in words), message


LINKED = {"number": node("PrimitiveFloat", value=1e9)}  # what another node sends, the host does not check

BAD_LINKS = {
    "too large": (refined(mask(), grow=["number", 0]) | LINKED,
                  "Set grow to a number from -256.0 to 256.0: it is 1000000000.0"),
}


@pytest.mark.parametrize("case", BAD_LINKS)
def test_a_value_from_another_node_that_cannot_be(host, case):
    workflow, words = BAD_LINKS[case]
    message = host.fail(workflow)
    assert words in message and len(message) < 500, message


@pytest.mark.parametrize("workflow", [segmented(picture(frames=0)), refined(mask(frames=0))],
                         ids=["picture", "mask"])
def test_an_empty_batch_is_no_error(host, workflow):
    output = ["segment", 0] if "segment" in workflow else ["refine", 0]
    host.run({key: value for key, value in workflow.items() if key != "shown"}
             | {"count": node("PreviewAny", source=output)})


def test_a_mask_of_another_size_is_resized_and_said_so(host):
    record = host.run(refined(mask(height=32, width=48), picture()))
    assert host.pictures(record)["shown"][0].size == (64, 64)
    assert "the mask (48×32) was resized to the picture (64×64)" in host.log()


def test_what_is_not_a_number_is_said_on_every_node_that_reads_it(host):
    """Also on those that show a result, whose text follows."""
    record = host.run({
        "picture": picture(), "nan": mask(value=math.nan),
        "trimap": node("BiRefTrimap", mask=["nan", 0], inward=5, outward=5, unit="pixels",
                       sure_background=0.05, sure_subject=0.95),
        "shown": node("MaskPreview", mask=["trimap", 0]),
        "inspect": node("BiRefInspect", image=["picture", 0], mask=["nan", 0], colour="red", size=64,
                        frames=1)})
    texts = host.texts(record)
    said = "the mask held values that are not numbers (NaN), which count as 0: check what made it"
    host.clear_history()  # the page, which reads it, cannot read the JSON of a NaN
    assert said in texts and f"{said}; no subject: the mask is empty" in texts


def test_the_queue_lives_on_after_all_this(host):
    host.run(show(segmented(picture())))
