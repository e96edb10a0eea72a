"""A checkpoint in any of the folders is listed and runs, and is read again after it was replaced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from host import PACK, values
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from workflow import load, node, segmented, widgets

import birefnet

NANO = PACK / "weights" / "birefnet-nano.safetensors"


def mask(host, checkpoint: str) -> np.ndarray:
    grey = node("EmptyImage", width=320, height=240, batch_size=1, color=0x808080)
    workflow = segmented(grey) | {"model": load(checkpoint),
                                  "shown": node("MaskPreview", mask=["segment", 0])}
    return values(host.pictures(host.run(workflow))["shown"][0], 0)


def save_flat(path, value: float, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint that outputs one logit everywhere; an existing file is overwritten."""
    state = {name: tensor.to(dtype) for name, tensor in load_file(NANO).items()}
    state["decoder.conv_out1.0.weight"] = torch.zeros_like(state["decoder.conv_out1.0.weight"])
    state["decoder.conv_out1.0.bias"] = torch.full_like(state["decoder.conv_out1.0.bias"], value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with safe_open(NANO, "pt") as nano:
        save_file(state, path, nano.metadata())


@pytest.mark.parametrize("folder, name", [
    ("models/BiRefNet", "own/solid.safetensors"),
    ("models/background_removal", "solid_too.safetensors"),  # core's folder
    ("models/RMBG/BiRefNet", "solid_as_well.safetensors"),  # another pack's
    ("checkpoints", "solid_elsewhere.safetensors"),  # named by extra_model_paths.yaml
])
def test_a_file_in_any_folder_is_offered_and_runs(host, folder, name):
    save_flat(host.base / folder / name, 20)
    _, kind, options = widgets(host.object_info()["BiRefLoad"])[0]
    assert name in (kind if isinstance(kind, list) else options["options"])
    assert mask(host, name).min() > 0.99


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_a_file_overwritten_while_it_is_loaded_is_read_again(host, dtype):
    path = host.base / "models" / "BiRefNet" / "changing.safetensors"
    save_flat(path, 20, dtype)
    assert mask(host, path.name).min() > 0.99
    save_flat(path, -20, dtype)
    assert mask(host, path.name).max() < 0.01


@pytest.mark.parametrize("license, told", [("CC BY-NC 4.0", True), ("GPL-3.0", False)])
def test_a_file_of_any_name_that_says_so_is_not_for_commercial_use(host, license, told):
    model = birefnet.load(NANO, form="plain")
    birefnet.save(model, host.base / "models" / "BiRefNet" / "descendant.safetensors",
                  {"birefnet.license": license})
    workflow = segmented(node("EmptyImage", width=64, height=64, batch_size=1, color=0)) | {
        "model": load("descendant.safetensors"), "shown": node("MaskPreview", mask=["segment", 0])}
    before = len(host.log())
    host.run(workflow)
    line, = (line for line in host.log()[before:].splitlines() if "descendant.safetensors is " in line)
    assert (f"licence {license}: not for commercial use" in line) == told


def test_a_tensor_that_is_no_number_is_a_sentence_and_no_empty_mask(host):
    state = load_file(NANO)
    state[next(name for name in state if name.startswith("bb.")
               and name.endswith(".weight"))].view(-1)[0] = torch.nan
    file = host.base / "models" / "BiRefNet" / "damaged.safetensors"
    with safe_open(NANO, "pt") as nano:
        save_file(state, file, nano.metadata())
    workflow = segmented(node("EmptyImage", width=64, height=64, batch_size=2, color=0)) | {
        "model": load(file.name), "shown": node("MaskPreview", mask=["segment", 0])}
    assert "ValueError: Load another copy of the checkpoint" in host.fail(workflow)
    file.unlink()


def test_a_fine_tune_saved_during_training_runs(host):
    """A .pth with the names that data parallel and torch.compile give, nested under "state_dict"."""
    state = {f"module._orig_mod.{name}": tensor for name, tensor in load_file(NANO).items()}
    torch.save({"state_dict": state, "epoch": 7}, host.base / "models" / "BiRefNet" / "mine.pth")
    assert mask(host, "mine.pth").shape == (240, 320)


def test_a_model_that_the_host_unloaded_runs_again(host):
    first = mask(host, "birefnet-nano")
    host.free()
    assert np.array_equal(mask(host, "birefnet-nano"), first)


@pytest.mark.parametrize("place", ["", "of its own"])
def test_the_file_of_cores_own_node_is_known_wherever_its_folder_is(host, photo, place):
    folder = host.removal / place
    folder.mkdir(parents=True, exist_ok=True)
    save_file(load_file(NANO), folder / "birefnet.safetensors")  # without metadata, as core's is
    name = f"{place}/birefnet.safetensors".lstrip("/")

    def found(**loading) -> np.ndarray:
        workflow = segmented(node("LoadImage", image=photo), size=320) | {
            "model": load(**loading), "shown": node("MaskPreview", mask=["segment", 0])}
        return values(host.pictures(host.run(workflow))["shown"][0], 0)

    known = found(checkpoint=name, patch_order="colour-fastest", normalize="none")
    assert np.array_equal(found(checkpoint=name), known)
    assert np.array_equal(found(checkpoint="BiRefNet-core"), known)
    cards = host.get("/biref/checkpoints")
    assert cards[name]["note"] == cards["BiRefNet-core"]["note"] and cards["BiRefNet-core"]["here"]
    (folder / "birefnet.safetensors").unlink()


@pytest.fixture
def lite(host):
    """Where a published checkpoint's file is looked for."""
    file = host.base / "models" / "BiRefNet" / "BiRefNet_lite.safetensors"
    yield file
    file.unlink()


@pytest.mark.parametrize("content",
                         [NANO.read_bytes()[:5_000_000], b"", b"version https://git-lfs.github.com/spec/v1"],
                         ids=["cut off", "empty", "pointer"])
@pytest.mark.parametrize("chosen", ["BiRefNet_lite", "BiRefNet_lite.safetensors"])
def test_a_published_file_that_is_cut_off_counts_as_missing(host, lite, content, chosen):
    lite.write_bytes(content)
    workflow = segmented(node("EmptyImage", width=64, height=64, batch_size=1, color=0)) | {
        "shown": node("MaskPreview", mask=["segment", 0])}
    message = host.fail(workflow | {"model": load(chosen)})
    assert str(lite) in message and 'Set download to "when missing" to get BiRefNet_lite again' in message
    message = host.fail(workflow | {"model": load(chosen, fetch=True)})
    assert "HF_HUB_OFFLINE is set, so BiRefNet_lite is not fetched" in message
    assert host.get("/biref/checkpoints")["BiRefNet_lite"]["damaged"]


@pytest.mark.parametrize("convert",
                         [lambda file: save_flat(file, 20), lambda file: torch.save(load_file(NANO), file)],
                         ids=["re-saved", "a pickle of that name"])
def test_what_a_user_converted_is_not_fetched_again(host, lite, convert):
    convert(lite)
    workflow = segmented(node("EmptyImage", width=64, height=64, batch_size=1, color=0), size=320) | {
        "model": load("BiRefNet_lite", fetch=True), "shown": node("MaskPreview", mask=["segment", 0])}
    host.run(workflow)
    card = host.get("/biref/checkpoints")["BiRefNet_lite"]
    assert card["here"] and not card["damaged"] and card["file"] == lite.stat().st_size
