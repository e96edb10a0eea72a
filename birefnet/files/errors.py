"""Errors for users: one printable line, whatever text comes from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence

MAX_CHARACTERS = 800  # of a message: a sentence with a few paths and names


class UserError(ValueError):
    """An error whose message says in one line what to do, and why something cannot be used.

    Names, values and other libraries' messages in it may come from any file: unprintable characters are
    escaped, and a message that is too long loses its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def why_not_read(error: OSError, wanted: str) -> str:
    """Say in a few words why a file cannot be read. wanted: what was expected ("a picture")."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return f"expected {wanted}, got a folder"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be read ({error.strerror or error})"


def one_line(text: str) -> str:
    """Escape unprintable characters, and cut the middle of a text longer than MAX_CHARACTERS."""
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS * 2 // 3]} … {text[-MAX_CHARACTERS // 3:]}"
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode()
                   for character in text)


def join_names(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """Join the first `most` names, and count the others: "a.txt, b.txt and 4 more"."""
    shown = separator.join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


class FileError(UserError):
    """A file cannot be used: "action: path: reason".

    Args:
        action: what to do, beginning with a verb ("Choose another checkpoint").
        reason: what was found, and what was expected.
        path: the file, where there is one.
    """

    def __init__(self, action: str, reason: str = "", path: str | os.PathLike = "") -> None:
        super().__init__(": ".join(filter(None, (action, str(path), reason))))
        self.action, self.reason = action, reason


class CheckpointError(FileError):
    """A file or state dict is no usable BiRefNet checkpoint."""

    def at(self, path: str | os.PathLike) -> CheckpointError:
        """Return the same error about the file at `path`."""
        return CheckpointError(self.action, self.reason, path)


class VideoError(FileError):
    """A video cannot be read or written."""


class PictureError(UserError):
    """A file that cannot be read as a picture, or a picture that cannot be written; the message is one
    sentence."""


class PicturePackageError(PictureError):
    """A package is missing that reads or writes this kind of picture; the message says how to install it."""
