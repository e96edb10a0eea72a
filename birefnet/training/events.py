"""Write a run's curves and mattes as TensorBoard events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter


class Events:
    """TensorBoard's writer for a run; hides events after `step` that were written before it was stopped."""

    def __init__(self, folder: Path, step: int) -> None:
        self.writer = SummaryWriter(folder, purge_step=step + 1 if step else 0)

    def losses(self, row: dict) -> None:
        """Write loss/total, loss/<term>, rate and size of a row of the history."""
        step = row["step"]
        self.writer.add_scalar("loss/total", row["loss"], step)
        for name, value in row["terms"].items():
            self.writer.add_scalar(f"loss/{name}", value, step)
        self.writer.add_scalar("rate", row["rate"], step)
        self.writer.add_scalar("size/height", row["size"][0], step)
        self.writer.add_scalar("size/width", row["size"][1], step)

    def measures(self, step: int, measures: dict[str, float], mattes: Path) -> None:
        """Write validation/<measure>, and picture, truth and matte side by side."""
        for name, value in measures.items():
            self.writer.add_scalar(f"validation/{name}", value, step)
        columns = []
        for name in ("picture", "truth", f"{step:07}"):
            with Image.open(mattes / f"{name}.jpg") as column:
                columns.append(np.asarray(column.convert("RGB")))
        self.writer.add_image("mattes", np.concatenate(columns, 1), step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()
