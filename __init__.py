"""BiRefNet mattes in ComfyUI. The host imports this file; nodes and PyTorch are imported on request."""

from __future__ import annotations

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The pack's ComfyExtension."""
    from .nodes.extension import BiRefExtension

    return BiRefExtension()
