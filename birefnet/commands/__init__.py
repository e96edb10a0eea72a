"""The subcommands of `python -m birefnet`: one module each, with `add_parser(subparsers)` and `run(args) -> int`."""

from __future__ import annotations


class CommandError(Exception):
    """A user's mistake; the message is one sentence, shown without a traceback."""
