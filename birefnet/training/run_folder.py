"""The folder of a run, from which it resumes. Files are replaced atomically; the history is appended to.

    trained.safetensors    the checkpoint, for birefnet.load and the nodes
    state.pt               weights, averaged weights and the optimiser's state
    settings.json          what the run's numbers depend on
    history.jsonl          losses and measures by step
    checked.json           the result of checking the data set
    mattes/                mattes of the validation pictures, by step
    report.html            the report; events.out.tfevents.* are TensorBoard's
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import torch

from ..device.memory import is_out_of_memory
from ..files.atomic import atomic_write, atomic_write_bytes
from .plan import TrainingPlan


class OtherRun(ValueError):
    """The folder has a run with other settings; the message is one sentence."""


class Damaged(ValueError):
    """A file of the folder cannot be read; the message is one sentence."""


class RunFolder:
    """Reads and writes the files of a run, see above. folder: `begin` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint, self.state = folder / "trained.safetensors", folder / "state.pt"
        self.settings, self.history = folder / "settings.json", folder / "history.jsonl"
        self.checked, self.mattes = folder / "checked.json", folder / "mattes"
        self.report = folder / "report.html"

    def begin(self, settings: dict[str, object]) -> None:
        """Write the settings, and remove files that a killed run left.

        Raises:
            OtherRun: the folder has a state of a run with other settings.
            Damaged: that state's settings cannot be read.
        """
        settings = json.loads(json.dumps(settings))
        if self.state.exists() and self.settings.exists():
            # Settings that an older version did not record were at their defaults.
            earlier = TrainingPlan(steps=1).describe() | self._read_settings()
            earlier.pop("echo", None)  # a setting of older versions without effect here
            changed = [key for key in {**earlier, **settings} if earlier.get(key) != settings.get(key)]
            if changed:
                differences = "; ".join(f"{key} was {earlier.get(key)}, now {settings.get(key)}"
                                        for key in changed)
                raise OtherRun("Give the same settings to go on, or another folder to start over: "
                               f"{self.folder} holds a run with others ({differences})")
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.rglob(".*.part"):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        atomic_write_bytes(self.settings, json.dumps(settings, indent=1).encode())

    def _read_settings(self) -> dict[str, object]:
        """The recorded settings; raises Damaged."""
        try:
            return dict(json.loads(self.settings.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise Damaged(f"Give another folder, or remove {self.state.name} to start over: {self.settings} "
                          "is damaged") from None

    def save_state(self, state: dict[str, object]) -> None:
        """Save a state atomically. Raises OSError if it cannot be written."""
        with atomic_write(self.state) as part:
            try:
                torch.save(state, part.path)
            except RuntimeError as error:  # PyTorch's error for a full disk
                if is_out_of_memory(error):
                    raise
                raise OSError(f"{self.state}: cannot be written ({str(error).splitlines()[0]})") from None
            part.keep()

    def load_state(self) -> dict[str, object] | None:
        """Load the saved state, on the CPU, without executing anything in the file; None if there is none.

        Raises:
            Damaged: the file cannot be read.
        """
        if not self.state.exists():
            return None
        try:
            return torch.load(self.state, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            if is_out_of_memory(error):
                raise
            raise Damaged(f"Restore a whole copy, or remove the file to start over: {self.state} is damaged"
                          ) from None

    def rows(self) -> list[dict]:
        """The history's rows, up to the first incomplete line."""
        rows = []
        for line in self.history.read_text(encoding="utf-8").splitlines() if self.history.exists() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def remove_rows_after(self, step: int) -> None:
        """Remove rows after `step` from the history; a run that resumes there writes them again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        atomic_write_bytes(self.history, "".join(f"{json.dumps(row)}\n" for row in kept).encode())

    def add(self, row: dict[str, object]) -> None:
        """Append a row to the history."""
        with self.history.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
