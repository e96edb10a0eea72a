"""Adapters and checkpoints are never taken for each other, and a new file goes where it may, over nothing."""

from __future__ import annotations

import pytest

import weights


@pytest.fixture
def folders(tmp_path):
    for name in (
        "BiRefNet/mine.safetensors",
        "BiRefNet/adapters/cracks.safetensors",
        "BiRefNet/adapters/walls/damp.safetensors",
        "BiRefNet/adapters/notes.txt",
        "BiRefNet/adapters/old.pth",
        "BiRefNet/people/Adapters/hats.safetensors",
        "background_removal/adapters/cracks.safetensors",
        "background_removal/adapters/birds.safetensors",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return [tmp_path / "BiRefNet", tmp_path / "background_removal", tmp_path / "not there"]


def test_checkpoints_and_adapters_are_listed_apart(folders):
    assert list(weights.list_local(folders)) == ["mine.safetensors"]
    found = weights.local_adapters(folders)
    assert list(found) == ["birds.safetensors", "cracks.safetensors", "walls/damp.safetensors"]
    assert found["cracks.safetensors"].parents[1] == folders[0]


@pytest.mark.parametrize("name", ["walls/damp.safetensors", r"walls\damp.safetensors"])
def test_an_adapter_is_found_by_the_name_that_is_listed(folders, name):
    assert weights.find_adapter(name, folders) == folders[0] / "adapters" / "walls" / "damp.safetensors"


@pytest.mark.parametrize("name", ["../mine.safetensors", "gone.safetensors", "/etc/passwd", "old.pth", "",
                                  "walls/../cracks.safetensors", "mine.safetensors"])
def test_nothing_else_is_reachable(folders, name):
    with pytest.raises(weights.NotFound, match=r"^Put the .*No adapter .*BiRefNet/adapters;.* \(does not "
                                               r"exist\)"):
        weights.find_adapter(name, folders)


def test_a_close_name_is_suggested(folders):
    with pytest.raises(weights.NotFound, match="Did you mean cracks.safetensors"):
        weights.find_adapter("crack.safetensors", folders)
    with pytest.raises(weights.NotFound, match="models/BiRefNet/adapters, or choose none"):
        weights.find_adapter("cracks.safetensors", [])


@pytest.mark.parametrize("name, file", [
    ("new", "new.safetensors"), ("new.safetensors", "new.safetensors"),
    (" walls/new ", "walls/new.safetensors"),
    (r"walls\new", "walls/new.safetensors"), ("mine", "mine-2.safetensors"), ("v1.5", "v1.5.safetensors"),
    ("裂缝", "裂缝.safetensors"),
])
def test_a_new_file_goes_below_the_folder_and_over_nothing(folders, name, file):
    path = weights.new_file(name, folders[0])
    assert path == folders[0] / file and not path.exists()


def test_a_taken_name_counts_on(folders):
    (folders[0] / "mine-2.safetensors").write_bytes(b"")
    assert weights.new_file("mine", folders[0]).name == "mine-3.safetensors"


@pytest.mark.parametrize("name",
                         ["../up", "walls/../../up", "/etc/up", r"C:\up", r"\\server\up", "", "  ", "a//b",
                                  ".hidden", "walls/.x/y", "a\0b", "what?", "ends.", "adapters/x", "x" * 300,
                          "\ud800"])
def test_a_name_that_leads_elsewhere_or_is_none_is_refused(folders, name):
    with pytest.raises(ValueError, match="^Choose a name such as 'cracks'"):
        weights.new_file(name, folders[0])


@pytest.mark.parametrize("name, row", [
    ("BiRefNet-portrait", "BiRefNet-portrait"), ("Portrait.safetensors", "BiRefNet-portrait"),
    ("people/general", "BiRefNet"),
    ("birefnet_fp16", "BiRefNet"), ("model", "BiRefNet"), ("BiRefNet_HR/model", "BiRefNet_HR"),
    ("birefnet-nano", "birefnet-nano"),
])
def test_a_new_checkpoint_takes_no_published_ones_place(folders, name, row):
    # a number would make that name another
    folders[0].joinpath("BiRefNet-portrait.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=f"^Choose a name of your own.* the published checkpoint {row} "
                                         "would"):
        weights.new_checkpoint(name, folders[0])


def test_a_new_checkpoint_of_ones_own_name_goes_where_a_new_file_goes(folders):
    for name in ("cats", "mine", "people/cats", "BiRefNet-cats"):
        assert weights.new_checkpoint(name, folders[0]) == weights.new_file(name, folders[0])
    with pytest.raises(ValueError, match="^Choose a name such as 'cracks'"):
        weights.new_checkpoint("../up", folders[0])
