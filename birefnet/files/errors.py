"""Errors that a user reads: one line, whatever a stranger's file puts into it."""

from __future__ import annotations

LONGEST = 800  # characters: room for a sentence with a few paths and names in it


class UserError(ValueError):
    """Why something cannot be used and what to do. Names, values and other libraries' words that are quoted in it may
    come from any file: what cannot be printed is escaped, and the middle of what is too long is left out."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def why_not_read(error: OSError, wanted: str) -> str:
    """What kept a file from being read, in a few words; wanted: what it was taken for, with its article."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return f"expected {wanted}, got a folder"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be read ({error.strerror or error})"


def one_line(text: str) -> str:
    """The text with nothing in it but printable characters, at most LONGEST of them (and a few for the escapes)."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST * 2 // 3]} … {text[-LONGEST // 3:]}"
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


class CheckpointError(UserError):
    """A file or state dict is no BiRefNet checkpoint that can be run; the message says why and what was expected."""
