"""Print what a command has to say."""

from __future__ import annotations

import sys

from tqdm import tqdm


def say(message: str) -> None:
    """Print a line to stderr, above the progress bar."""
    tqdm.write(message, file=sys.stderr)
