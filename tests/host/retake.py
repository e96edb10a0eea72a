"""Makes all pictures again that show results of the included checkpoint: the help pages' and the templates'
cards, on one ComfyUI, unattended.

    python tests/host/retake.py COMFYUI [NAME...]

COMFYUI_PYTHON names the interpreter with that ComfyUI's packages, if it is not this one. NAME: the beginning
of a picture's name: a node's, such as BiRefSegment, or a template's, such as "BiRefNet 07"; by default, all
pictures are made. After a failure, the others are still made, and the last line is the command for those that
are missing. `git diff --stat` then shows which have changed.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import cards
import pages
from host import Host

CARDS = tuple(template.stem for template in cards.TEMPLATES)
ALL = (*pages.PANELS, *pages.ON_THE_PAGE, *CARDS)


def named(beginnings: Sequence[str]) -> list[str]:
    """Return the pictures whose names begin so; all for no beginnings."""
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in ALL):
            sys.exit(f"not made here: {beginning}; but {', '.join(ALL)} are")
    return [name for name in ALL if name.startswith(tuple(beginnings) or "")]


def make(host: Host, wanted: Sequence[str]) -> list[str]:
    """Make these pictures one after the other; return the names of those that failed."""
    failed = []
    for name in wanted:
        began = time.monotonic()
        try:
            if name in CARDS:
                cards.make(host, (name,))
            else:
                pages.make(host, [name])
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {'FAILED' if name in failed else 'made'}, {time.monotonic() - began:.0f} s",
              flush=True)
    return failed


def main(comfyui: Path, beginnings: list[str]) -> None:
    wanted = named(beginnings)
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as base, Host(comfyui, Path(base), python) as host:
        failed = make(host, wanted)
    if failed:
        sys.exit("Make what failed: " + shlex.join(["python", *sys.argv[:2], *failed]))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
