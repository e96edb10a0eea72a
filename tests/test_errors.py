"""Errors begin with what to do, and help pages quote messages that exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Errors about one file of a list (PictureError, DataError) begin with the file, those of the
# command line with the option.
ACTION_FIRST = {"CheckpointError", "Damaged", "FetchError", "NoBackgroundError", "NotFound", "OtherRun",
                "OutOfMemory", "PackageError", "PicturePackageError", "UserError", "VideoError"}
ACTIONS = {"Allow", "Check", "Choose", "Connect", "Convert", "Copy", "Correct", "Download", "Fetch", "Give",
           "Install", "Load", "Lower", "Make", "Name", "Pass", "Point", "Put", "Remove", "Resize",
           "Restore", "Save", "Set", "Take", "Train", "Try", "Update", "Write"}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """File → its syntax tree; read when a test asks, as both workers collect this file and one runs it."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
            for room in ("birefnet", "nodes", "weights") for path in sorted((ROOT / room).rglob("*.py"))}


def template(node: ast.AST) -> str | None:
    """A string with … for each interpolated value; None for another expression."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def calls(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """(function's name, first argument, line) of the calls whose first argument is a text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and (text := template(node.args[0])) is not None:
            yield ast.unparse(node.func).rpartition(".")[2], text, node.lineno


def test_errors_begin_with_what_to_do():
    found = [(path, line, text) for path, tree in modules().items() for name, text, line in calls(tree)
             if name in ACTION_FIRST or name == "ValueError" and path.startswith("nodes/")]
    assert len(found) > 100
    assert not [error for error in found if re.split(r"\W", error[2], maxsplit=1)[0] not in ACTIONS]


def test_help_pages_quote_messages_that_exist():
    written = {text.lower() for tree in modules().values() for node in ast.walk(tree)
               if (text := template(node))}
    quotes = {(page.name, quote) for page in (ROOT / "web" / "docs").glob("*.md")
              for bold in re.findall(r'^- \*\*"(.+?)"\*\*', page.read_text(encoding="utf-8"), re.MULTILINE)
              for quote in bold.split('", "')}
    assert len(quotes) > 30
    assert not {(page, quote) for page, quote in quotes for part in re.split(r"…|\d+", quote.lower())
                if not any(part.strip() in text for text in written)}
