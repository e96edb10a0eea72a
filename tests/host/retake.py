"""Makes all pictures that show what the included checkpoint does anew: the templates' cards and the help
pages', on one ComfyUI, unattended.

    python tests/host/retake.py COMFYUI

COMFYUI_PYTHON names the interpreter that has the packages of that ComfyUI, if not this one. `git diff --stat`
then tells which have changed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import cards
import pages
from host import Host


def main(comfyui: Path) -> None:
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as base, Host(comfyui, Path(base), python) as host:
        pages.make(host)
        cards.make(host)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
