"""The catalog's rows, and which row a file is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path, PurePath

import pytest

import weights
from birefnet.network.builds import BACKBONES, NANO

ROWS = pytest.mark.parametrize("row", weights.CATALOG, ids=lambda row: row.name)


@ROWS
def test_a_row_says_all_that_is_needed(row):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", row.name)  # in file names, workflows and commands
    assert row.repo is None or re.fullmatch(r"[A-Za-z0-9_.-]{1,96}/[A-Za-z0-9_.-]{1,96}", row.repo)
    assert PurePath(row.file).suffix in (".safetensors", ".pth", ".pt")
    assert not weights.fault(row.name, "the folder") and not weights.fault(row.file, "the repository")
    assert row.task and row.license
    assert row.backbone in BACKBONES or row.repo is None and row.backbone == NANO.encoder
    assert all(isinstance(text, str) for text in (row.task, row.license, row.backbone, row.note))
    assert all(isinstance(alias, str) for alias in row.aliases)
    assert isinstance(row.aliases, tuple) and type(row.non_commercial) is bool and type(row.megabytes) is int
    assert row.normalize in ("imagenet", "none")
    assert row.patch_order in ("colour-slowest", "colour-fastest")
    assert row.non_commercial == ("NC" in row.license)
    assert 1 <= row.megabytes <= 2000
    if row.height_width is None:
        assert row.size == "dynamic"
    else:
        height, width = row.height_width
        assert height % 32 == width % 32 == 0 and 256 <= height <= width <= 4096


@ROWS
def test_a_row_is_found_by_its_name_and_by_every_name_of_its_file(row):
    assert weights.entry(row.name) is row
    assert weights.match(Path("models/BiRefNet", row.filename)) is row
    for alias in row.aliases:
        assert weights.match(f"models/RMBG/{alias}.safetensors") is row
        assert weights.entry(alias) is row  # as workflows made with the pack that calls it so have it
    if row.repo:
        assert weights.match(Path("models", row.name, "model.safetensors")) is row


def test_no_two_rows_share_a_name():
    names = [name.casefold() for row in weights.CATALOG for name in {row.name, *row.aliases}]
    assert len(names) == len(set(names))


def test_the_default_comes_first_and_alone_needs_no_download():
    assert [row.name for row in weights.CATALOG if row.repo is None] == ["birefnet-nano"]
    assert weights.CATALOG[0].name == "birefnet-nano"
    assert weights.CATALOG[0].filename == weights.NANO.name


def test_the_default_is_what_its_row_says():
    row = weights.CATALOG[0]
    with open(weights.NANO, "rb") as file:
        told = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    assert told["birefnet.size"] == f"{row.size}x{row.size}"
    assert told["birefnet.license"] == row.license
    assert weights.NANO.stat().st_size <= row.megabytes * 1_000_000 <= 16_000_000


def test_adding_a_checkpoint_is_adding_a_row(tmp_path):
    from weights import catalog

    rows = json.loads(Path(catalog.__file__).with_name("catalog.json").read_text(encoding="utf-8"))
    rows.append({**rows[1], "name": "BiRefNet-new", "repo": "somebody/BiRefNet-new", "aliases": []})
    (tmp_path / "catalog.json").write_text(json.dumps(rows), encoding="utf-8")
    assert catalog.read(tmp_path / "catalog.json")[-1].filename == "BiRefNet-new.safetensors"


@pytest.mark.parametrize(
    "path, name",
    [
        ("models/BiRefNet/General.safetensors", "BiRefNet"),
        ("models/BiRefNet/General-Lite-2K.safetensors", "BiRefNet_lite-2K"),
        ("models/BiRefNet/DIS-TR_TEs.safetensors", "BiRefNet-DIS5K-TR_TEs"),
        ("models/BiRefNet/pth/BiRefNet-general-epoch_244.pth", "BiRefNet"),
        ("models/BiRefNet/BiRefNet-general-resolution_512x512-fp16-epoch_216.pth", "BiRefNet_512x512"),
        ("models/RMBG/BiRefNet/BiRefNet-general.safetensors", "BiRefNet"),
        ("models/RMBG/BiRefNet/BiRefNet-HR-matting.safetensors", "BiRefNet_HR-matting"),
        ("models/RMBG/BiRefNet/BiRefNet_toonout.safetensors", "toonout"),
        ("models/RMBG/RMBG-2.0/model.safetensors", "RMBG-2.0"),
        ("models/background_removal/birefnet.safetensors", "BiRefNet-core"),
        ("models/background_removal/lucida.safetensors", "lucida-core"),
        ("models/birefnet/birefnet.safetensors", "BiRefNet"),
        ("models/BiRefNet/lucida.safetensors", "lucida"),
        ("models/BiRefNet_HR/model.safetensors", "BiRefNet_HR"),
        ("BIREFNET_HR_FP16.SAFETENSORS", "BiRefNet_HR"),
    ],
)
def test_files_are_recognised_under_the_names_of_other_packs(path, name):
    assert weights.match(path).name == name


def test_a_folders_registered_name_counts_for_all_that_is_below_it():
    registered = {Path("disk/cutters"): "background_removal", Path("disk/own"): "BiRefNet"}
    for path, name in [("disk/cutters/birefnet.safetensors", "BiRefNet-core"),
                       ("disk/cutters/of its own/lucida.safetensors", "lucida-core"),
                       ("disk/cutters/General.safetensors", "BiRefNet"),
                       ("disk/own/birefnet.safetensors", "BiRefNet"),
                       ("disk/cutters/BiRefNet_HR/model.safetensors", "BiRefNet_HR"),
                       ("disk/others/birefnet.safetensors", "BiRefNet")]:
        assert weights.match(path, registered).name == name, path
    assert weights.settings("disk/cutters/birefnet.safetensors", registered)["normalize"] == "none"


@pytest.mark.parametrize("path",
                         ["BiRefNet/my-cats.safetensors", "model.safetensors", "General.ckpt", "Generally"])
def test_other_files_are_nobodys(path):
    assert weights.match(path) is None
    assert weights.settings(path) == {}


def test_settings_are_what_tensors_cannot_tell():
    wide = {"patch_order": "colour-slowest", "normalize": "imagenet", "size": (1440, 2560)}
    assert weights.settings("models/BiRefNet/General-Lite-2K.safetensors") == wide
    assert weights.settings("BiRefNet_lite-2K") == wide
    assert weights.settings(weights.entry("BiRefNet_lite-2K")) == wide
    assert weights.settings("RMBG-2.0")["patch_order"] == "colour-fastest"
    assert weights.settings("BiRefNet_dynamic")["size"] == "dynamic"
    assert weights.settings(weights.NANO) == {}  # the file's own metadata says it


def test_importing_loads_nothing_heavy_and_reads_no_folder():
    program = (
        "import sys, os; walked = []; sys.addaudithook(lambda event, args: walked.append(args) "
        "if event in ('os.walk', 'glob.glob') or event == 'os.scandir' else None); import weights; "
        "heavy = {'torch', 'numpy', 'huggingface_hub', 'filelock', 'requests', 'httpx'} & set(sys.modules); "
        "assert not heavy and not walked, (heavy, walked)"
    )
    root = Path(weights.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
