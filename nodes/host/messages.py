"""Messages on a node: lines while it runs, and the line that stays (web/lines.js shows both)."""

from __future__ import annotations

import logging

import torch

log = logging.getLogger(__name__)

PRESENT = 0.5  # alpha; a frame without a pixel of this has no subject
EVENT = "biref.line"

_noted: dict[tuple[str, str], list[str]] = {}  # notes of nodes that still run, by prompt and node


def say(text: str, picture: str = "") -> None:
    """Show a line on the running node, on the page that queued it, until the node's next line.

    picture: a URL, shown until the next picture or the node's end. (The host's own preview of a running node
    would stay and hide the result.)
    """
    place, client = running_node(), listener()
    if place is None or client is None:  # without a client, the host would send it to all pages
        return
    from server import PromptServer

    PromptServer.instance.send_sync(EVENT, {"node": place[1], "text": text, "picture": picture}, client)


def listener() -> str | None:
    """Return the id of the page that queued the running workflow; None if there is none."""
    if _context() is None:
        return None
    from server import PromptServer

    return PromptServer.instance.client_id


def running_node() -> tuple[str, str] | None:
    """Return (prompt, node on the page), or None outside the host.

    A node of an expanded graph (id 2.0.0.3) counts as the node that it replaces (2).
    """
    context = _context()
    return None if context is None else (context.prompt_id, context.node_id.partition(".")[0])


def _context():
    """Return the host's context of the running node; None outside the host."""
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:
        return None
    return get_executing_context()


def note(text: str) -> None:
    """Show a warning while the node runs; the line that stays (`status_ui`, `text_ui`) repeats it."""
    say(text)
    place = running_node()
    if place is not None:
        _noted.setdefault(place, []).append(text)


def status_ui(warning: str, result: str) -> dict[str, tuple]:
    """Return the `ui` with the line that stays on the node: the warnings, or else the result.

    Args:
        warning: what the user should check, which is also logged; "" for nothing.
        result: a few words, such as those of `done`.

    Returns:
        The `ui` of NodeOutput, always with the same keys, as the host requires for nodes that run on lists.
        API clients read `text`.
    """
    if warning:
        log.warning("BiRef: %s", warning)
    warning = "; ".join(filter(None, [*_noted.pop(running_node(), []), warning]))
    return {"text": (warning,) if warning else (), "biref_line": (warning or result,),
            "biref_warning": (bool(warning),)}


def text_ui(text: str, warning: bool = False) -> dict[str, tuple]:
    """As `status_ui`, for a result that API clients read as `text`, too: the warnings noted, and the text."""
    notes = _noted.pop(running_node(), [])
    text = "; ".join([*notes, text])
    return {"text": (text,), "biref_line": (text,), "biref_warning": (warning or bool(notes),)}


def say_cpu_takes_over(device: torch.device) -> None:
    """Warn that the device ran out of memory and the CPU continues."""
    log.warning("BiRef: out of memory on %s; continuing on the CPU, which is slow", device)
    note("out of GPU memory: continued on the CPU (slow)")


def resized_text(size: tuple[int, int], wanted: tuple[int, int]) -> str:
    """Return a message if a mask's `size` (H, W) differs from the picture's, `wanted`; else ""."""
    if size == wanted:
        return ""
    return f"the mask ({size[1]}×{size[0]}) was resized to the picture ({wanted[1]}×{wanted[0]})"


def list_indices(indices: list[int], total: int, what: str) -> str:
    """Return a text such as "in 3 of 9 pictures (index 0, 3, 7)"; it lists up to ten indices."""
    listed = ", ".join(map(str, indices[:10])) + (", …" if len(indices) > 10 else "")
    return f"in {len(indices)} of {total} {what} (index {listed})"


def some_frames(said: str, indices: list[int], total: int, what: str = "pictures", rest: str = "") -> str:
    """Return a message about some frames, by index: what is said, which ones of several, and the rest; "" for
    none. what: the frames are."""
    which = "" if total == 1 else f" {list_indices(indices, total, what)}"
    return f"{said}{which}{rest}" if indices else ""


def nothing_found(empty: list[int], total: int) -> str:
    """Return a message about the frames without a subject, by index; "" if there are none."""
    if not empty:
        return ""
    advice = "the mask is empty there. Try another checkpoint, or crop closer to the subject"
    if total == 1:
        return f"no subject found in the picture: {advice.replace(' there', '')}"
    return f"no subject found {list_indices(empty, total, 'pictures')}: {advice}"


def done(count: int, size: tuple[int, int], what: str = "picture") -> str:
    """Return a text such as "Done: 3 pictures, 800×960". size: (H, W) in pixels."""
    return f"Done: {count} {what}{'' if count == 1 else 's'}, {size[1]}×{size[0]}"
