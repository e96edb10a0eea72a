"""Lines on the running node and in the log."""

from __future__ import annotations

import functools
import importlib.metadata
import logging

import torch
from comfy_execution.utils import get_executing_context

log = logging.getLogger(__name__)

remarked: tuple[str, str] | None = None  # the prompt and the node of the last remark, which what follows there leaves be


def say(text: str) -> None:
    """Show a line on the running node, to whoever has queued it; does nothing outside a running workflow and on old
    pages."""
    place = running_node()
    if place is None or not page_shows_lines():
        return
    from server import PromptServer

    if PromptServer.instance.client_id is not None:  # without one all pages would be told, of their own nodes
        PromptServer.instance.send_progress_text(text, place[1], PromptServer.instance.client_id)


def running_node() -> tuple[str, str] | None:
    """The prompt, and the node on the page: one that a node has put in its own place (2.0.0.3) is that one (2)."""
    context = get_executing_context()
    return None if context is None else (context.prompt_id, context.node_id.partition(".")[0])


def remark(text: str, usual: str) -> dict[str, tuple[str, ...]] | None:
    """What there is to remark, in the log and on the node, where it stays: give the result to NodeOutput as `ui`. Where
    that is "", only the `usual` line, so that no earlier run's line stays."""
    global remarked
    if text:
        log.warning("BiRef: %s", text)
        say(text)
        remarked = running_node()
        return {"text": (text,)}
    if running_node() != remarked:
        say(usual)
    return None


def say_cpu_takes_over(device: torch.device) -> None:
    log.warning("BiRef: out of memory on %s; going on with the CPU, which is slow", device)
    say("out of GPU memory: going on with the CPU (slow)")


@functools.cache
def page_shows_lines() -> bool:
    """Whether the front end can show a line without harm: older ones (seen in 1.32) save it with the workflow as one
    more widget value, which the next widget that a node gets would take for its own."""
    try:
        version = importlib.metadata.version("comfyui-frontend-package")
        return tuple(map(int, version.split(".")[:2])) >= (1, 45)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
