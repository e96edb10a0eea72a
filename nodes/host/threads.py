"""What nodes do to run well on a processor that other programs use, too."""

from __future__ import annotations

import functools

from ...birefnet.device.threads import short_waits


def with_short_waits(node: type) -> type:
    """Changes a node so that PyTorch's threads do not keep cores busy while they wait for each other; the
    host has loaded PyTorch before this pack, so no environment variable does it."""
    plain = node.execute.__func__

    @functools.wraps(plain)
    def execute(cls, *args, **words):
        with short_waits():
            return plain(cls, *args, **words)

    node.execute = classmethod(execute)
    return node
