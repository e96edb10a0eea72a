"""Copies the templates' pictures and clip into ComfyUI's input folder, where Load Image finds them."""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path

import folder_paths

log = logging.getLogger(__name__)

SAMPLES = Path(__file__).parents[2] / "example_workflows" / "input"
PAIRS = "birefnet-pairs"  # the folder of pictures and masks for Fine-tune


def copy_samples() -> None:
    """Copy missing files; existing ones are kept. Warn if the folder is read-only."""
    target = Path(folder_paths.get_input_directory())
    for source in sorted(SAMPLES.rglob("*")):
        file = target / source.relative_to(SAMPLES)
        if source.is_dir() or file.exists():
            continue
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError), file.open("xb") as copy, source.open("rb") as original:
                shutil.copyfileobj(original, copy)
        except OSError as error:
            log.warning("BiRef: the templates' pictures cannot be put into %s (%s)", target, error.strerror)
            return
