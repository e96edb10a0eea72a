"""The folder of a run, from which it can continue; every file in it is complete at any time.

    trained.safetensors    the checkpoint, for birefnet.load and the nodes
    state.pt               weights, averaged weights and the optimiser's state
    settings.json          what the run's numbers depend on
    history.jsonl          losses and measures by step
    checked.json           the result of the data's check
    mattes/                pictures of the validation, by step
    report.html            all of it to look at; events.out.tfevents.* are TensorBoard's
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import torch

from ..device.memory import is_out_of_memory
from ..files.atomic import atomic_write, write_whole
from .plan import TrainingPlan


class OtherRun(ValueError):
    """The folder holds a run with other settings; the message is one sentence."""


class Damaged(ValueError):
    """A file of the folder cannot be read; the message is one sentence."""


class RunFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint, self.state = folder / "trained.safetensors", folder / "state.pt"
        self.settings, self.history = folder / "settings.json", folder / "history.jsonl"
        self.checked, self.mattes = folder / "checked.json", folder / "mattes"
        self.report = folder / "report.html"

    def begin(self, settings: dict[str, object]) -> None:
        """Write the settings, and clean up after a kill.

        Raises:
            OtherRun: there is a state made with other settings.
            Damaged: the settings of the state there cannot be read.
        """
        settings = json.loads(json.dumps(settings))
        if self.state.exists() and self.settings.exists():
            # a setting that an older version did not have yet is as if at its default
            earlier = TrainingPlan(steps=1).describe() | self._settings()
            earlier.pop("echo", None)  # only the included checkpoint's recipe had it
            changed = [key for key in {**earlier, **settings} if earlier.get(key) != settings.get(key)]
            if changed:
                told = "; ".join(f"{key} was {earlier.get(key)}, now {settings.get(key)}" for key in changed)
                raise OtherRun(f"{self.folder} holds a run with other settings ({told}): give the same to go on, "
                               "or another folder to begin anew")
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.rglob(".*.part"):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        write_whole(self.settings, json.dumps(settings, indent=1).encode())

    def _settings(self) -> dict[str, object]:
        try:
            return dict(json.loads(self.settings.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise Damaged(f"{self.settings} is damaged: give another folder, or remove {self.state.name} to "
                          "begin anew") from None

    def store(self, state: dict[str, object]) -> None:
        """Save a state; the old one stays until the new one is complete on the disk. Raises OSError where
        that refuses."""
        with atomic_write(self.state) as part:
            try:
                torch.save(state, part.path)
            except RuntimeError as error:  # PyTorch's own writing has no better one for a full disk
                if is_out_of_memory(error):
                    raise
                raise OSError(f"{self.state}: cannot be written ({str(error).splitlines()[0]})") from None
            part.keep()

    def stored(self) -> dict[str, object] | None:
        """The saved state, on the CPU, or None; nothing in the file is executed. Raises Damaged."""
        if not self.state.exists():
            return None
        try:
            return torch.load(self.state, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            if is_out_of_memory(error):
                raise
            raise Damaged(f"{self.state} is damaged: put a whole copy there, or remove it to begin anew"
                          ) from None

    def rows(self) -> list[dict]:
        """The history, without a line that a kill cut short."""
        rows = []
        for line in self.history.read_text(encoding="utf-8").splitlines() if self.history.exists() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def forget_after(self, step: int) -> None:
        """Remove from the history what a run that continues from `step` will do again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        write_whole(self.history, "".join(f"{json.dumps(row)}\n" for row in kept).encode())

    def add(self, row: dict[str, object]) -> None:
        """Append a row to the history."""
        with self.history.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
