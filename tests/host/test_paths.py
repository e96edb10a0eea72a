"""Names in a workflow: no file outside the models folders is read, none outside the output folder written."""

from __future__ import annotations

import shutil
import urllib.error
from pathlib import Path

import pytest
from host import PACK
from workflow import load, node, segmented

NANO = PACK / "weights" / "birefnet-nano.safetensors"
CLIP = PACK / "tests" / "fuzz" / "seeds" / "videos" / "clip.mp4"

CLIMBING = [
    "../secret.safetensors",
    "..\\secret.safetensors",
    "{base}/secret.safetensors",
    "sub/../../../secret.safetensors",
    "C:\\secret.safetensors",
    "\\\\server\\share\\secret.safetensors",
    "//server/secret.safetensors",
]
NO_NAMES = [
    "CON",
    "aux.safetensors",
    "sub/NUL.pth",
    "COM1",
    "a\0.safetensors",
    "a\n.safetensors",
    "secret.safetensors.",
    "secret.safetensors ",
    "x" * 300,
    "a/" * 600,
    "\u202esrotcsnet.terces",
    "",
]


@pytest.fixture
def secret(host):
    """A checkpoint outside the models folders."""
    path = host.base / "secret.safetensors"
    shutil.copy(NANO, path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def clip(host) -> str:
    return host.upload(CLIP)


def loading(name: str) -> dict:
    grey = node("EmptyImage", width=32, height=32, batch_size=1, color=0)
    return segmented(grey) | {"model": load(name), "shown": node("MaskPreview", mask=["segment", 0])}


def matting(clip: str, prefix: str) -> dict:
    inputs = {
        "model": ["model", 0],
        "video": ["video", 0],
        "output": "mask",
        "colour": "white",
        "fit": "fill",
        "quality": "small",
        "clean_edges": False,
        "smoothing": 0.0,
        "size": 64,
        "frames_per_pass": 0,
        "filename_prefix": prefix,
    }
    return {
        "model": load(),
        "video": node("LoadVideo", file=clip),
        "matted": node("BiRefVideo", **inputs),
        "path": node("PreviewAny", source=["matted", 1]),
    }


def everything(folder: Path) -> set[Path]:
    """Return all files in the host's folder and beside it, except those in the output folder."""
    return {
        path
        for path in folder.parent.rglob("*")
        if not path.is_relative_to(folder / "output") and "custom_nodes" not in path.parts
    }


def one_sentence(message: str, words: str) -> None:
    assert words in message and "Traceback" not in message and "\n" not in message.strip(), message


@pytest.mark.parametrize("name", CLIMBING)
def test_a_checkpoint_outside_the_models_folders_is_out_of_reach(host, secret, name):
    message = host.fail(loading(name.replace("{base}", str(host.base))))
    one_sentence(message, "leads out of the models folders")


@pytest.mark.parametrize("name", [*NO_NAMES, "~/secret.safetensors"], ids=ascii)
def test_what_is_no_checkpoints_name(host, secret, name):
    message = host.fail(loading(name))
    one_sentence(message, "Put the file")
    assert len(message) < 6000  # the host repeats it for each input that it asks about


def test_the_one_node_cut_out_is_no_way_round(host, secret):
    workflow = {
        "image": node("EmptyImage", width=32, height=32, batch_size=1, color=0),
        "cut": node(
            "BiRefRemoveBackground",
            image=["image", 0],
            checkpoint=str(secret),
            background="transparent",
            colour="white",
            clean_edges=False,
            fetch=False,
        ),
        "shown": node("MaskPreview", mask=["cut", 1]),
    }
    one_sentence(host.fail(workflow), "leads out of the models folders")


def test_a_link_that_the_user_made_is_followed(host, secret):
    """A user may link models on another disk into ComfyUI's folders; a name cannot create such a link."""
    link = host.base / "models" / "BiRefNet" / "linked.safetensors"
    link.symlink_to(secret)
    try:
        host.run(loading("linked.safetensors"))
    finally:
        link.unlink()


@pytest.mark.parametrize(
    "prefix",
    [*(name.replace(".safetensors", "") for name in CLIMBING), *NO_NAMES, "video/..", "%year%/../../x", "."],
    ids=ascii,
)
def test_a_video_is_written_below_the_output_folder_or_not_at_all(host, clip, prefix):
    before = everything(host.base)
    message = host.fail(matting(clip, prefix.replace("{base}", str(host.base))))
    one_sentence(message, "filename_prefix")
    assert len(message) < 3000
    assert everything(host.base) == before


def test_a_prefix_may_go_down(host, clip):
    path = Path(host.run(matting(clip, "films/%year%/cat"))["outputs"]["path"]["text"][0])
    assert path.is_relative_to(host.base / "output" / "films") and path.is_file()


def test_the_cards_route_takes_nothing(host):
    cards = host.get("/biref/checkpoints")
    assert host.get("/biref/checkpoints?name=../../secret&folder=/") == cards
    for path, data in (("/biref/checkpoints/../../secret", None), ("/biref/checkpoints", b"{}")):
        with pytest.raises(urllib.error.HTTPError):
            host.fetch(path, data)
