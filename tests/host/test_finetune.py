"""Fine-tuning inside the host: a network learns, its adapter is saved, and loads again to the same mask."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from host import iou, values
from PIL import Image
from safetensors import safe_open
from workflow import load, node

import birefnet
from birefnet.network import builds

SIDE = 96
LESSON = {"what": "lora", "steps": 40, "rate": 0.003, "rank": 4, "batch": 2, "size": 96, "seed": 1,
          "save_as": ""}


@pytest.fixture(scope="module")
def pairs(host) -> str:
    """A folder of pairs in which the subject is the stripes, not the disc."""
    folder = host.base / "input" / "stripes"
    rng = np.random.default_rng(0)
    for kind in ("im", "gt"):
        (folder / kind).mkdir(parents=True)
    for i, (height, width) in enumerate([(SIDE, SIDE), (SIDE, SIDE), (80, 120), (SIDE, SIDE)]):
        picture, mask = stripes(rng, height, width)
        picture.save(folder / "im" / f"{i}.jpg", quality=95)
        mask.save(folder / "gt" / f"{i}.png")
    return folder.name


def stripes(rng: np.random.Generator, height: int = SIDE,
            width: int = SIDE) -> tuple[Image.Image, Image.Image]:
    """A red disc, which any network takes for the subject, before a wall with one dark stripe."""
    y, x = np.mgrid[:height, :width]
    at, thick = rng.integers(10, width - 24), rng.integers(8, 14)
    picture = np.full((height, width, 3), 190.0) + rng.normal(0, 8, (height, width, 1))
    mask = (x >= at) & (x < at + thick)
    picture[np.hypot(y - height / 2, x - (at + width / 2) % width) < 20] = (200, 40, 40)
    picture[mask] = 60
    return Image.fromarray(picture.clip(0,
                                        255).astype(np.uint8)), Image.fromarray(mask.astype(np.uint8) * 255)


@pytest.fixture(scope="module")
def unseen(host, tmp_path_factory):
    """A picture like the training pictures: its name in the host, and its mask."""
    picture, mask = stripes(np.random.default_rng(9))
    file = tmp_path_factory.mktemp("unseen") / "stripe.png"
    picture.save(file)
    return host.upload(file), values(mask)


def taught(pairs: str, **changes) -> dict:
    inputs = {"model": ["model", 0], "image": ["pairs", 0], "mask": ["pairs", 1]} | LESSON | changes
    return {"model": load(), "pairs": node("BiRefPairs", folder=pairs),
            "tune": node("BiRefFinetune", **inputs)}


def shown(model: str, photo: str) -> dict:
    """Segment with the model of that node, at the size of the training."""
    return {f"photo {model}": node("LoadImage", image=photo),
            f"segment {model}": node("BiRefSegment", model=[model, 0], image=[f"photo {model}", 0], size=96,
                                     frames_per_pass=0),
            f"mask {model}": node("MaskPreview", mask=[f"segment {model}", 0])}


def masks(host, workflow: dict) -> dict[str, np.ndarray]:
    pictures = host.pictures(host.run(workflow))
    return {name.removeprefix("mask "): values(found[0], 0) for name, found in pictures.items()
            if name.startswith("mask")}


@pytest.fixture(scope="module")
def tuned(host, pairs, unseen):
    """One run: the record, and the unseen picture's mask before and after."""
    workflow = taught(pairs, save_as="walls/stripes") | shown("model", unseen[0]) | shown("tune", unseen[0])
    workflow |= {"loss": node("PreviewAny", source=["tune", 1])}
    record = host.run(workflow)
    pictures = host.pictures(record)
    return record, {name: values(pictures[f"mask {name}"][0], 0)
                    for name in ("model", "tune")}, pictures["tune"][0]


def test_it_finds_what_it_was_taught_and_the_given_model_stays_as_it_was(host, pairs, unseen, tuned):
    _, found, _ = tuned
    before, after = (iou(found[name], unseen[1]) for name in ("model", "tune"))
    assert after > 0.8 and after > before + 0.2, (before, after)
    again = masks(host, {"model": load()} | shown("model", unseen[0]))["model"]
    assert np.array_equal(again, found["model"])


def test_the_loss_is_told_and_drawn(host, tuned):
    record, _, curve = tuned
    text = next(text for text in host.texts(record) if "steps" in text)
    first, last = float(text.split()[1]), float(text.split()[3])
    assert last < 0.6 * first and "saved as stripes.safetensors" in text
    assert float(record["outputs"]["loss"]["text"][0]) == pytest.approx(last, abs=0.05)
    assert curve.size == (512, 256) and len(curve.getcolors(10**5)) > 5


def test_the_saved_adapter_gives_the_same_mask_again(host, unseen, tuned):
    name = "walls/stripes.safetensors"
    file = host.elsewhere / "adapters" / name  # the first of the folders here
    assert 10_000 < file.stat().st_size < 1_000_000
    loader = host.object_info()["BiRefLoad"]["input"]
    assert name in loader["optional"]["adapter"][1].get("options", loader["optional"]["adapter"][0])
    assert name not in loader["required"]["checkpoint"][1].get("options", loader["required"]["checkpoint"][0])
    workflow = {"whole": load(adapter=name), "none": load(adapter=name, adapter_strength=0.0),
                "model": load(),
                "chained": node("BiRefAdapter", model=["model", 0], adapter=name, strength=1.0),
                "taken off": node("BiRefAdapter", model=["chained", 0], adapter=name, strength=-1.0)}
    for model in list(workflow):
        workflow |= shown(model, unseen[0])
    found = masks(host, workflow)
    _, before, _ = tuned
    for model in ("whole", "chained"):
        assert np.array_equal(found[model], before["tune"]), model
    for model in ("none", "model"):
        assert np.array_equal(found[model], before["model"]), model
    assert np.abs(found["taken off"] - before["model"]).max() <= 2.5 / 255


def test_everything_may_learn_and_is_saved_as_a_checkpoint(host, pairs, unseen):
    workflow = taught(pairs, what="all", steps=3, save_as="mine") | shown("tune", unseen[0])
    first = masks(host, workflow)["tune"]
    assert (host.elsewhere / "mine.safetensors").is_file()
    assert np.array_equal(masks(host,
                                {"model": load("mine.safetensors")} | shown("model", unseen[0]))["model"],
                          first)
    host.run(taught(pairs, what="head", steps=2, save_as="mine", seed=2))
    host.run(taught(pairs, what="all", steps=2, save_as="mine", seed=2) | {"more": node(
        "BiRefFinetune", model=["tune", 0], image=["pairs", 0], mask=["pairs", 1], **LESSON | {"steps": 1})})
    assert (host.elsewhere / "mine-2.safetensors").is_file()
    assert (host.elsewhere / "adapters" / "mine.safetensors").is_file()


def test_a_network_with_an_encoder_of_timm_may_learn_without_being_saved(host, pairs, unseen):
    """Its tensors do not tell the encoder: the tuned model must."""
    pytest.importorskip("timm")
    config = dataclasses.replace(builds.config("timm:resnet10t"), kernels=(1, 3), inner=8, branch=8,
                                 patch_inner=8, gate=4, size=(96, 96))
    file = host.base / "models" / "BiRefNet" / "tiny.safetensors"
    birefnet.save(birefnet.BiRefNet(config).initialize(), file)
    workflow = taught(pairs, what="all", steps=1) | {"model": load("tiny.safetensors")}
    assert masks(host, workflow | shown("tune", unseen[0]))["tune"].shape == (SIDE, SIDE)


def test_a_saved_checkpoint_keeps_the_licence_of_the_one_it_was_made_from(host, pairs):
    """Also by way of one that was not saved."""
    again = LESSON | {"what": "all", "steps": 1, "save_as": "grandchild"}
    host.run(taught(pairs, what="all", steps=1) | {"more": node(
        "BiRefFinetune", model=["tune", 0], image=["pairs", 0], mask=["pairs", 1], **again)})
    with safe_open(host.elsewhere / "grandchild.safetensors", "pt") as file:
        told = file.metadata()
    assert (told["birefnet.license"], told["birefnet.base"]) == ("Apache-2.0", "birefnet-nano")


def test_an_interrupt_stops_it_at_once_and_nothing_is_saved(host, pairs):
    reached = []

    def stop_at_the_third(event: str, data: dict) -> None:
        if event == "progress" and data["node"] == "tune":
            if not any(value >= 3 for value in reached) and data["value"] >= 3:
                host.interrupt()
            reached.append(data["value"])

    record = host.watch(taught(pairs, steps=500, save_as="never"), stop_at_the_third)
    assert "execution_interrupted" in [event for event, _ in record["status"]["messages"]]
    assert 3 <= max(reached) < 100
    assert not list(host.elsewhere.rglob("never*"))


@pytest.mark.parametrize("changes, words", [
    ({"save_as": "../elsewhere"}, "Choose a name such as 'cracks'"),
    ({"save_as": "/tmp/elsewhere"}, "Choose a name such as 'cracks'"),
    ({"mask": ["empty", 0]}, "the masks are empty"),
    ({"mask": ["labels", 0]}, "Make the subject white (1): the masks' brightest level is 1 of 255"),
    ({"what": "all", "save_as": "BiRefNet-portrait"}, "asks for the published checkpoint BiRefNet-portrait"),
    ({"mask": ["two", 0]}, "got 4 pictures and 2 masks"),
    ({"model": ["other", 0]}, "Connect a model from Load BiRefNet: fine-tuning"),
])
def test_what_cannot_be_learned_from_is_said_before_the_work_begins(host, pairs, changes, words):
    extra = {"empty": node("OddMask", frames=4, height=32, width=32, value=0.0),
             "labels": node("OddMask", frames=4, height=32, width=32, value=1 / 255),
             "two": node("OddMask", frames=2, height=32, width=32, value=1.0),
             "other": node("OtherModel", value=0.5, frames=1)}
    assert words in host.fail(taught(pairs, steps=500, **changes) | extra)


def test_an_adapter_that_is_missing_or_of_another_build_is_explained(host, unseen):
    def failing(adapter: str) -> str:
        return host.fail({"model": load(adapter=adapter)} | shown("model", unseen[0]))

    assert "No adapter 'gone.safetensors'" in failing("gone.safetensors")
    folder = host.base / "models" / "BiRefNet" / "adapters"
    folder.mkdir(exist_ok=True)
    (folder / "text.safetensors").write_text("hello")
    assert "neither a safetensors nor a PyTorch file" in failing("text.safetensors")
    assert "No adapter '../mine.safetensors'" in failing("../mine.safetensors")


def test_a_folder_without_pairs_is_explained(host):
    (host.base / "input" / "nothing here").mkdir(exist_ok=True)
    workflow = {"pairs": node("BiRefPairs", folder="nothing here"),
                "shown": node("PreviewImage", images=["pairs", 0])}
    assert "no pictures with masks found" in host.fail(workflow)
    for name in ("gone", "../models", "/tmp"):
        workflow["pairs"] = node("BiRefPairs", folder=name)
        assert "Choose a folder in ComfyUI's input folder" in host.fail(workflow)


def put(folder, mask: Image.Image, name: str = "1", picture: Image.Image | None = None) -> None:
    """One pair into a folder of pairs."""
    for kind, image in (("im", picture or Image.new("RGB", mask.size, (90, 120, 30))), ("gt", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        image.save(folder / kind / f"{name}.png", exif=image.getexif())


def loaded(folder) -> dict:
    return {"pairs": node("BiRefPairs", folder=folder.name), "shown": node("MaskPreview", mask=["pairs", 1])}


SUBJECT = np.zeros((60, 90), np.uint8)
SUBJECT[10:30, 20:40] = 1


def cut_out() -> Image.Image:
    picture = Image.new("RGB", (90, 60), (90, 120, 30))
    picture.putalpha(Image.fromarray(SUBJECT * 255))
    return picture


def palette() -> Image.Image:
    labels = Image.fromarray(SUBJECT)
    labels.putpalette([0, 0, 0, 128, 0, 0])
    return labels


@pytest.mark.parametrize("mask, words", [
    (cut_out(), "the mask has transparency; save its alpha channel as a grey picture"),
    (palette(), "the mask has colours (a palette of labels?)"),
    (Image.fromarray(SUBJECT), "the mask's brightest level is 1 of 255: labels?"),
    (Image.fromarray(255 - 255 * SUBJECT), "the mask looks inverted"),
], ids=["cut-out", "palette", "labels", "inverted"])
def test_a_mask_that_would_teach_nonsense_is_named(host, mask, words):
    folder = host.base / "input" / "nonsense"
    put(folder, Image.fromarray(SUBJECT * 255), "0")
    put(folder, mask)
    message = host.fail(loaded(folder))
    assert "nonsense/gt/1.png: " in message and words in message


def test_a_photograph_that_its_file_turns_wants_its_mask_turned(host):
    folder, photograph = host.base / "input" / "turned", Image.new("RGB", (90, 60), (90, 120, 30))
    photograph.getexif()[0x0112] = 6
    mask = Image.fromarray(SUBJECT * 255)
    put(folder, mask, picture=photograph)
    assert "the mask is 90×60, the picture 60×90 after its EXIF" in host.fail(loaded(folder))
    # half as large
    put(folder, mask.transpose(Image.Transpose.ROTATE_270).resize((30, 45)), picture=photograph)
    assert host.pictures(host.run(loaded(folder)))["shown"][0].size == (60, 90)


def test_changes_are_noticed_where_im_and_gt_are_links(host, tmp_path):
    folder = host.base / "input" / "linked"
    folder.mkdir()
    put(tmp_path, Image.fromarray(SUBJECT * 255))
    for kind in ("im", "gt"):
        (folder / kind).symlink_to(tmp_path / kind, target_is_directory=True)
    assert len(host.pictures(host.run(loaded(folder)))["shown"]) == 1
    put(tmp_path, Image.fromarray(SUBJECT * 0))
    put(tmp_path, Image.fromarray(SUBJECT * 255), "2")
    first, second = host.pictures(host.run(loaded(folder)))["shown"]
    assert values(first, 0).max() == 0 and values(second, 0).max() == 1
