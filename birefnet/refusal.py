"""Errors that a user reads: one line, whatever a stranger's file puts into it."""

from __future__ import annotations

LONGEST = 800  # characters: room for a sentence with a few paths and names in it


class Refusal(ValueError):
    """Why something cannot be used and what to do. Names, values and other libraries' words that are quoted in it may
    come from any file: what cannot be printed is escaped, and the middle of what is too long is left out."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text with nothing in it but printable characters, at most LONGEST of them (and a few for the escapes)."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST * 2 // 3]} … {text[-LONGEST // 3:]}"
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
