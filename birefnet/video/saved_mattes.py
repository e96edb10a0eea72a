"""Mattes of a clip on disk, and the state from which following a subject resumes."""

from __future__ import annotations

import contextlib
import io
import pickle
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files.atomic import atomic_write_bytes

FULL = 65535  # alpha 1 in the file
STATE = "state.pt"


class SavedMattes:
    """Mattes [1,H,W] by frame number, 16 bits, compressed; in a temporary file, or in a folder that outlives
    the process together with a state.

    Args:
        folder: made if it is missing; None for a temporary file without a state.
        key: names what the mattes are of. What the folder holds under another key is discarded.

    Attributes:
        state: as `save` got it in an earlier run; None in a new one.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self.folder, self.key, self.state, self.entries = folder, key, None, {}
        if folder is None:
            self.file = tempfile.TemporaryFile()
            return
        folder.mkdir(parents=True, exist_ok=True)
        found = read_state(folder / STATE, key)
        if found is not None:
            self.entries, self.state = found
        self.file = open(folder / "mattes", "w+b" if found is None else "a+b")  # noqa: SIM115

    def __enter__(self) -> SavedMattes:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __contains__(self, number: int) -> bool:
        return number in self.entries

    def write(self, number: int, alpha: Tensor) -> None:
        packed = zlib.compress((alpha.clamp(0, 1) * FULL + 0.5).cpu().numpy().astype(np.uint16).tobytes(), 1)
        self.file.seek(0, 2)
        self.entries[number] = self.file.tell(), len(packed), tuple(alpha.shape)
        self.file.write(packed)

    def read(self, number: int) -> Tensor:
        place, length, shape = self.entries[number]
        self.file.seek(place)
        values = np.frombuffer(zlib.decompress(self.file.read(length)), np.uint16).reshape(shape)
        return torch.from_numpy(values.astype(np.float32) / FULL)

    def save(self, state: dict) -> None:
        """Store a state (of numbers, lists and tensors) that goes with the mattes so far; without a folder,
        do nothing."""
        if self.folder is not None:
            self.file.flush()
            content = io.BytesIO()
            torch.save({"key": self.key, "places": self.entries, "state": state}, content)
            atomic_write_bytes(self.folder / STATE, content.getvalue())


def read_state(path: Path, key: str) -> tuple[dict, dict] | None:
    """Places and state of an earlier run with this key; None if there is none that can be read."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return (found["places"], found["state"]) if found["key"] == key else None


def discard_mattes(folder: Path) -> None:
    """Remove the folder of an earlier run."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
