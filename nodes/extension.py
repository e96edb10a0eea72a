"""The list of nodes that ComfyUI asks for."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .composite import BiRefComposite
from .estimate_foreground import BiRefForeground
from .export_onnx import BiRefExport
from .finetune import BiRefFinetune
from .frame_subject import BiRefFrame
from .host import card, errors, folders, memory, replacements, samples, threads
from .inpaint_crop import BiRefInpaintCrop
from .inpaint_paste import BiRefInpaintPaste
from .inspect_matte import BiRefInspect
from .load_adapter import BiRefAdapter
from .load_birefnet import BiRefLoad
from .load_pairs import BiRefPairs
from .matte_video import BiRefVideo
from .pick_subject import BiRefSubject
from .refine_edges import BiRefEdgeRefine
from .refine_mask import BiRefRefineMask
from .remove_background import BiRefRemoveBackground
from .segment import BiRefSegment
from .smooth_over_time import BiRefTemporal
from .trimap import BiRefTrimap


class BiRefExtension(ComfyExtension):
    async def on_load(self) -> None:
        await replacements.register()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        folders.register_folders()
        card.register()  # here because 0.3.75 does not call on_load
        samples.copy_samples()
        nodes = [
            BiRefLoad, BiRefSegment, BiRefRefineMask,
            BiRefForeground, BiRefTrimap,
            BiRefComposite, BiRefInspect, BiRefInpaintCrop, BiRefInpaintPaste,
            BiRefEdgeRefine, BiRefSubject,
            BiRefVideo, BiRefTemporal,
            BiRefRemoveBackground,
            BiRefFinetune, BiRefAdapter, BiRefPairs,
            BiRefExport, BiRefFrame,
        ]
        return [errors.as_builtin_errors(memory.explain_out_of_memory(threads.with_short_waits(node)))
                for node in nodes]
