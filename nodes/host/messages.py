"""What a node has to say: lines while it works, and the line that stays on it (web/lines.js shows both)."""

from __future__ import annotations

import logging

import torch
from comfy_execution.utils import get_executing_context

from . import convert

log = logging.getLogger(__name__)

PRESENT = 0.5  # alpha that some pixel of a frame must reach for its subject to count as found
EVENT = "biref.line"

_noted: dict[tuple[str, str], list[str]] = {}  # notes of nodes that still run, by prompt and node


def say(text: str, picture: str = "") -> None:
    """Shows a line on the running node, on the page that queued it, until the node's next line; and a picture, as a
    URL, until its next picture or its end. The host's own previews of a running node would stay in the place of what it
    made."""
    place, client = running_node(), listener()
    if place is None or client is None:  # without a client, every page would be told, of its own nodes
        return
    from server import PromptServer

    PromptServer.instance.send_sync(EVENT, {"node": place[1], "text": text, "picture": picture}, client)


def listener() -> str | None:
    """The page that queued the running workflow; None outside the host and for a workflow that no page waits
    for."""
    if get_executing_context() is None:
        return None
    from server import PromptServer

    return PromptServer.instance.client_id


def running_node() -> tuple[str, str] | None:
    """The prompt, and the node on the page: one that a node has put in its own place (2.0.0.3) is that one
    (2)."""
    context = get_executing_context()
    return None if context is None else (context.prompt_id, context.node_id.partition(".")[0])


def note(text: str) -> None:
    """A warning while the node runs, which its last line will repeat."""
    say(text)
    place = running_node()
    if place is not None:
        _noted.setdefault(place, []).append(text)


def remark(warning: str, result: str) -> dict[str, tuple]:
    """The line that stays on the node: the warnings, which are logged, too, or else the result.

    Args:
        warning: What the user should look at; "" if there is nothing.
        result: What came out, in a few words.

    Returns:
        For the `ui` of NodeOutput, always with the same keys, as the host wants it of a node that runs on a
        list; `text` is what an API client reads.
    """
    if warning:
        log.warning("BiRef: %s", warning)
    warning = "; ".join(filter(None, [*_noted.pop(running_node(), []), warning]))
    return {"text": (warning,) if warning else (), "biref_line": (warning or result,),
            "biref_warning": (bool(warning),)}


def told(text: str, warning: bool = False) -> dict[str, tuple]:
    """As `remark`, of a result that API clients read, too."""
    return {"text": (text,), "biref_line": (text,), "biref_warning": (warning,)}


def say_cpu_takes_over(device: torch.device) -> None:
    log.warning("BiRef: out of memory on %s; going on with the CPU, which is slow", device)
    note("out of GPU memory: continued on the CPU (slow)")


def resized_text(size: tuple[int, int], wanted: tuple[int, int]) -> str:
    """What to tell about a mask of (H,W) `size` for a picture of size `wanted`; "" if they agree."""
    if size == wanted:
        return ""
    return f"the mask ({size[1]}×{size[0]}) was resized to the picture ({wanted[1]}×{wanted[0]})"


def nothing_found(empty: list[int], total: int) -> str:
    """A sentence about the frames without a subject, by index; "" if there are none."""
    if not empty:
        return ""
    advice = "the mask is empty there. Try another checkpoint, or crop closer to the subject"
    if total == 1:
        return f"no subject found in the picture: {advice.replace(' there', '')}"
    return f"no subject found {convert.in_some(empty, total, 'pictures')}: {advice}"


def done(count: int, size: tuple[int, int], what: str = "picture") -> str:
    """"Done: 3 pictures, 800×960"; size: (H, W)."""
    return f"Done: {count} {what}{'' if count == 1 else 's'}, {size[1]}×{size[0]}"
