"""The host's folders of checkpoints, extra_model_paths.yaml included."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...weights import FOLDERS


def register_folders() -> None:
    """Register the folders of this and other packs with the host, after those of extra_model_paths.yaml."""
    for name in dict.fromkeys(folder.split("/")[0] for folder in FOLDERS):
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))


def checkpoint_folders() -> list[Path]:
    """Folders of checkpoints, in order of preference.

    Downloads go into the first: models/BiRefNet, unless extra_model_paths.yaml names another.
    """
    found = [Path(root, *rest) for name, *rest in (folder.split("/") for folder in FOLDERS)
             for root in folder_paths.get_folder_paths(name)]
    return list(dict.fromkeys(found))


def registered_folders() -> dict[Path, str]:
    """The host's name of each folder; in extra_model_paths.yaml, a folder itself may have any name."""
    return {Path(folder): name for name in FOLDERS if "/" not in name
            for folder in folder_paths.get_folder_paths(name)}
