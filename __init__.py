"""BiRef: BiRefNet mattes in ComfyUI. The host imports this file; everything else waits until it asks for the nodes."""

from __future__ import annotations

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The pack's ComfyExtension."""
    from .nodes.extension import BiRefExtension

    return BiRefExtension()
