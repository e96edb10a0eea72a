"""Finding checkpoints on this machine: folders of other packs, links, clashes, and names that must not
work."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

import weights
from weights import lookup


@pytest.fixture
def models(tmp_path):
    """A models folder as other packs leave it."""
    for name in (
        "BiRefNet/General.safetensors",
        "BiRefNet/mine/cats.pth",
        "BiRefNet/Upper.SAFETENSORS",
        "BiRefNet/readme.txt",
        "BiRefNet/.General-HR.safetensors.0123456789ab.partial",
        "BiRefNet/.cache/huggingface/download/model.safetensors",
        "background_removal/birefnet.safetensors",
        "background_removal/General.safetensors",
        "RMBG/BiRefNet/BiRefNet-HR.safetensors",
        "RMBG/RMBG-2.0/model.safetensors",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.fixture
def folders(models):
    return [models / name for name in weights.FOLDERS]


def test_local_lists_checkpoints_only_sorted_and_the_first_folder_wins(models, folders):
    found = weights.list_local(folders)
    assert list(found) == [
        "BiRefNet-HR.safetensors",
        "General.safetensors",
        "Upper.SAFETENSORS",
        "birefnet.safetensors",
        "mine/cats.pth",
        "model.safetensors",
    ]
    assert found["General.safetensors"] == models / "BiRefNet" / "General.safetensors"
    assert weights.list_local(reversed(folders))["General.safetensors"].parent.name == "background_removal"


def test_links_are_followed_but_not_in_circles(models, folders):
    elsewhere = models / "big disk"
    elsewhere.mkdir()
    (elsewhere / "Portrait.safetensors").write_bytes(b"")
    (models / "BiRefNet" / "linked").symlink_to(elsewhere)
    (models / "BiRefNet" / "Matting.safetensors").symlink_to(elsewhere / "Portrait.safetensors")
    (models / "BiRefNet" / "gone.safetensors").symlink_to(elsewhere / "gone.safetensors")
    (elsewhere / "back").symlink_to(models / "BiRefNet")
    found = weights.list_local(folders[:1])
    assert {"linked/Portrait.safetensors", "Matting.safetensors"} < set(found)
    assert "gone.safetensors" not in found and "linked/back/General.safetensors" not in found


@pytest.mark.parametrize(
    "name, file",
    [
        ("General.safetensors", "BiRefNet/General.safetensors"),
        ("mine/cats.pth", "BiRefNet/mine/cats.pth"),
        (r"mine\cats.pth", "BiRefNet/mine/cats.pth"),  # a workflow from Windows
        ("general.safetensors", "BiRefNet/General.safetensors"),  # one from a disk that ignores case
        ("BiRefNet", "BiRefNet/General.safetensors"),
        ("birefnet_hr", "RMBG/BiRefNet/BiRefNet-HR.safetensors"),
        ("RMBG-2.0", "RMBG/RMBG-2.0/model.safetensors"),
        ("BiRefNet-core", "background_removal/birefnet.safetensors"),
    ],
)
def test_find_takes_relative_names_and_names_of_the_catalog(models, folders, name, file):
    assert weights.find(name, folders) == models / file


def test_find_knows_a_folder_by_its_registered_name(tmp_path):
    file = tmp_path / "cutters" / "birefnet.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"")
    registered = {file.parent: "background_removal"}
    assert weights.find("BiRefNet-core", [file.parent], registered=registered) == file
    with pytest.raises(weights.NotFound):
        weights.find("BiRefNet", [file.parent], registered=registered)


def test_find_prefers_safetensors_to_a_pickle_and_earlier_folders(models, folders):
    (models / "BiRefNet" / "BiRefNet-general-epoch_244.pth").write_bytes(b"")
    assert weights.find("BiRefNet", folders) == models / "BiRefNet" / "General.safetensors"
    assert weights.find("BiRefNet", reversed(folders)).parent.name == "background_removal"


def test_the_default_checkpoint_ships_with_the_project(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "NANO", tmp_path / "birefnet-nano.safetensors")
    with pytest.raises(weights.NotFound, match="^Restore .* with git"):
        weights.find("birefnet-nano", folders)
    (tmp_path / "birefnet-nano.safetensors").write_bytes(b"")
    assert weights.find("birefnet-nano", []) == tmp_path / "birefnet-nano.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        r"..\secret.safetensors",
        "mine/../../secret.safetensors",
        "{models}/secret.safetensors",
        r"C:\secret.safetensors",
        r"\\server\secret.safetensors",
    ],
)
def test_a_workflow_cannot_read_outside_the_folders(models, folders, name):
    (models / "secret.safetensors").write_bytes(b"")
    with pytest.raises(weights.NotFound, match="leads out of the models folders"):
        weights.find(name.format(models=models), folders)


def test_the_command_line_takes_any_file(models, folders, monkeypatch):
    own = models / "BiRefNet" / "mine" / "cats.pth"
    assert weights.find(str(own), folders, allow_paths=True) == own
    monkeypatch.chdir(own.parent)
    assert weights.find("cats.pth", [], allow_paths=True) == Path("cats.pth")
    assert weights.find("BiRefNet", folders, allow_paths=True) == models / "BiRefNet" / "General.safetensors"


def test_a_published_checkpoint_that_is_missing_says_where_and_how_to_get_it(models, folders):
    with pytest.raises(weights.NotFound) as caught:
        weights.find("BiRefNet_HR-matting", folders)
    message = str(caught.value)
    for said in (
        *map(str, folders),
        f"{models / 'birefnet'} (does not exist)",
        "Set 'download' in the loader to 'when missing'",
        "`python -m birefnet fetch BiRefNet_HR-matting`",
        f"put it into {models / 'BiRefNet'} as BiRefNet_HR-matting.safetensors",
        "444 MB",
        "MIT",
    ):
        assert said in message


def test_an_unknown_name_says_what_it_could_have_been(folders):
    with pytest.raises(weights.NotFound, match=r"No checkpoint 'Generel.safetensors'.*Did you mean "
                                               r"General.safe"):
        weights.find("Generel.safetensors", folders)
    with pytest.raises(weights.NotFound, match="^Put the file .*models/BiRefNet.*birefnet-nano.*Folders "
                                               "scanned: none"):
        weights.find("unknown", [])


@pytest.fixture
def not_root():
    """Permissions mean nothing to root, which tests often run as."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are another thing there")
def test_an_unreadable_folder_is_named_and_does_not_hide_the_others(not_root):
    with tempfile.TemporaryDirectory() as models:
        closed, open_ = Path(models, "BiRefNet"), Path(models, "background_removal")
        closed.mkdir(mode=0)
        open_.mkdir()
        (open_ / "birefnet.safetensors").write_bytes(b"")
        assert list(weights.list_local([closed, open_])) == ["birefnet.safetensors"]
        with pytest.raises(weights.NotFound, match=r"BiRefNet \(cannot be read: Permission denied\)"):
            weights.find("cats.pth", [closed, open_])


def test_a_name_that_no_workflow_could_store_is_left_out(models, folders):
    try:
        Path(os.fsdecode(os.fsencode(models / "BiRefNet") + b"/\xff.safetensors")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system refuses such a name itself")
    (models / "BiRefNet" / "猫　.safetensors").write_bytes(b"")
    names = weights.list_local(folders)
    assert "猫　.safetensors" in names and all(name.encode() for name in names)


def test_folders_inside_and_outside_comfyui(tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "__file__",
                        str(tmp_path / "custom_nodes" / "comfyui-biref" / "weights" / "lookup.py"))
    assert [path.relative_to(tmp_path / "models").as_posix()
            for path in weights.folders()] == list(weights.FOLDERS)
    monkeypatch.setattr(lookup, "__file__", str(tmp_path / "comfyui-biref" / "weights" / "lookup.py"))
    assert weights.folders() == (tmp_path / "comfyui-biref" / "models",)
