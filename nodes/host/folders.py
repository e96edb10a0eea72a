"""The host's folders of checkpoints, extra_model_paths.yaml included, and new files in its output folder."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...weights import FOLDERS, fault, quoted


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


def new_file(prefix: str, example: str, suffix: str, width: int = 0, height: int = 0
             ) -> tuple[Path, dict[str, str]]:
    """Return the next free file in the output folder, numbered as by Save Image, and its address for a page.

    Args:
        prefix: of its name, which may contain %width% and %height%.
        example: a good prefix, for messages.
        suffix: of its name.
        width, height: of the picture, in pixels.

    Raises:
        ValueError: the prefix leads out of the folder, or is not a valid file name on every system.
    """
    if wrong := fault(prefix, "ComfyUI's output folder"):
        raise ValueError(f"Choose a filename_prefix such as {example}: {quoted(prefix)} {wrong}.")
    try:
        folder, name, number, subfolder, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory(), width, height)
    except OSError as error:
        raise ValueError("Choose another filename_prefix, or allow writing there: the folder of "
                         f"{quoted(prefix)} cannot be made ({error.strerror}).") from None
    file = f"{name}_{number:05}_{suffix}"
    return Path(folder, file), {"filename": file, "subfolder": subfolder, "type": "output"}
