"""The host's folders of checkpoints, extra_model_paths.yaml included."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...weights import FOLDERS


def register_folders() -> None:
    """Make the folders of this and other packs known to the host, after those of extra_model_paths.yaml."""
    for name in dict.fromkeys(folder.split("/")[0] for folder in FOLDERS):
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))


def checkpoint_folders() -> list[Path]:
    """Where checkpoints may lie, best first. What is fetched goes into the first: models/BiRefNet unless
    extra_model_paths.yaml names another."""
    found = [Path(root, *rest) for name, *rest in (folder.split("/") for folder in FOLDERS)
             for root in folder_paths.get_folder_paths(name)]
    return list(dict.fromkeys(found))


def registered_folders() -> dict[Path, str]:
    """The host's own name for each of these folders; extra_model_paths.yaml may call one anything."""
    return {Path(folder): name for name in FOLDERS if "/" not in name
            for folder in folder_paths.get_folder_paths(name)}
