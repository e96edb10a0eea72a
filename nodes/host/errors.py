"""Errors as users read them: the host shows the module of an exception's class unless it is a builtin one."""

from __future__ import annotations

import functools

from comfy_api.latest import io

OURS = __package__.rpartition(".nodes.")[0]


def as_builtin_errors(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Make a node raise the builtin base class of this pack's exceptions instead, with the same text.

    The traceback is dropped: it would keep the node's tensors in memory.
    """
    plain = node.execute.__func__

    @functools.wraps(plain)
    def execute(cls, *args, **words):
        try:
            return plain(cls, *args, **words)
        except Exception as error:
            if not type(error).__module__.startswith(f"{OURS}."):
                raise
            builtin = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
            text = str(error)
        raise builtin(text)

    node.execute = classmethod(execute)
    return node
