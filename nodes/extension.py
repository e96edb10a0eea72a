"""The list of nodes that ComfyUI asks for."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import card, host, replacements
from .adapter import BiRefAdapter
from .composite import BiRefComposite
from .edges import BiRefEdgeRefine
from .finetune import BiRefFinetune
from .foreground import BiRefForeground
from .inpaint import BiRefInpaintCrop, BiRefInpaintPaste
from .inspect_matte import BiRefInspect
from .load import BiRefLoad
from .pairs import BiRefPairs
from .refine import BiRefRefineMask
from .remove import BiRefRemoveBackground
from .segment import BiRefSegment
from .subject import BiRefSubject
from .temporal import BiRefTemporal
from .trimap import BiRefTrimap
from .video import BiRefVideo


class BiRefExtension(ComfyExtension):
    async def on_load(self) -> None:
        await replacements.register()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register_folders()
        card.register()  # here because 0.3.75 does not call on_load
        nodes = [
            BiRefLoad, BiRefSegment, BiRefRefineMask,
            BiRefForeground, BiRefTrimap,
            BiRefComposite, BiRefInspect, BiRefInpaintCrop, BiRefInpaintPaste,
            BiRefEdgeRefine, BiRefSubject,
            BiRefVideo, BiRefTemporal,
            BiRefRemoveBackground,
            BiRefFinetune, BiRefAdapter, BiRefPairs,
        ]
        return [host.minding_memory(node) for node in nodes]
