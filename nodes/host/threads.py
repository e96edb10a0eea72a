"""Limits busy waiting while nodes run, for processors that other programs use, too."""

from __future__ import annotations

from ...birefnet.device.threads import short_waits


def with_short_waits(node: type) -> type:
    """Make a node run without PyTorch's threads spinning while they wait for each other.

    The host has loaded PyTorch before this pack, so an environment variable would have no effect.
    """
    node.execute = classmethod(short_waits()(node.execute.__func__))
    return node
