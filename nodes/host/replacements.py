"""Replacements for other packs' nodes in shared workflows.

The host (0.14 and newer) offers them if the other pack is not installed: its page has a button, and a
workflow queued over the API is changed. The host fails (error 500) if a workflow lacks a mapped input, so
only inputs that every release of the other pack has are mapped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import comfy_api.latest
from comfy_api.latest import io


@dataclass(frozen=True)
class Replacement:
    """Replaces node `old` by `new`. widgets: of `old`, in the order in which workflows store their values."""

    old: str
    new: str
    widgets: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)       # new name: old name
    values: dict[str, object] = field(default_factory=dict)    # new name: value
    outputs: dict[int, int] = field(default_factory=dict)      # output's new index: old index

    def for_host(self):
        outputs = [{"new_idx": new, "old_idx": old} for new, old in self.outputs.items()]

        class ForHost(io.NodeReplace):
            def as_dict(self) -> dict:
                """What the page reads: it links again what is mapped, and nothing else."""
                return super().as_dict() | {"output_mapping": outputs}

        # The host renumbers links to the outputs, and fails (error 500) if a linked node was replaced before
        # and its input has another name now, which depends on the hash seed. Same places need no numbers.
        moved = any(new != old for new, old in self.outputs.items())
        return ForHost(
            new_node_id=self.new,
            old_node_id=self.old,
            old_widget_ids=list(self.widgets),
            input_mapping=[{"new_id": new, "old_id": old} for new, old in self.inputs.items()]
            + [{"new_id": new, "set_value": value} for new, value in self.values.items()],
            output_mapping=outputs if moved else None,
        )


MASK, CUTOUT = 0, 1  # outputs of Segment
LOADER = {"dtype": "auto", "device": "auto", "fetch": False}  # required in API workflows
SEGMENT = {"size": 0, "frames_per_pass": 0}
REMOVE = {"background": "transparent", "colour": "white", "clean_edges": True, "fetch": False}

# Widgets in the order of the packs' sources. Their `width` is the network's side, too, and is kept.
REPLACEMENTS = (
    # lldacing/ComfyUI_BiRefNet_ll. Its names for checkpoints are aliases in the catalog.
    Replacement("AutoDownloadBiRefNetModel", "BiRefLoad", ("model_name", "device", "dtype"),
                {"checkpoint": "model_name"}, {**LOADER, "fetch": True}, {0: 0}),
    Replacement("LoadRembgByBiRefNetModel", "BiRefLoad", ("model", "device", "use_weight", "dtype"),
                {"checkpoint": "model"}, LOADER, {0: 0}),
    Replacement("RembgByBiRefNet", "BiRefSegment", (),
                {"model": "model", "image": "images"}, SEGMENT, {CUTOUT: 0, MASK: 1}),
    Replacement("RembgByBiRefNetAdvanced", "BiRefSegment",
                ("width", "height", "upscale_method", "blur_size", "blur_size_two", "fill_color", "color",
                 "mask_threshold"),
                {"model": "model", "image": "images", "size": "width"}, {"frames_per_pass": 0},
                {CUTOUT: 0, MASK: 1}),
    Replacement("GetMaskByBiRefNet", "BiRefSegment", ("width", "height", "upscale_method", "mask_threshold"),
                {"model": "model", "image": "images", "size": "width"}, {"frames_per_pass": 0}, {MASK: 0}),
    # 1038lab/ComfyUI-RMBG. Its release of July 2026 inserted a widget in second place, so only the first
    # widget's position is the same in all releases.
    Replacement("BiRefNetRMBG", "BiRefRemoveBackground", ("model",),
                {"image": "image", "checkpoint": "model"},
                REMOVE, {0: 0, 1: 1, 2: 2}),
    # Its main node. Of its four models RMBG-2.0 is a BiRefNet; for the others our node lists the checkpoints.
    Replacement("RMBG", "BiRefRemoveBackground", ("model",), {"image": "image", "checkpoint": "model"},
                REMOVE, {0: 0, 1: 1, 2: 2}),
    # ZHO-ZHO-ZHO/ComfyUI-BiRefNet-ZHO: files of models/BiRefNet.
    Replacement("BiRefNet_ModelLoader_Zho", "BiRefLoad", ("birefnet_model",),
                {"checkpoint": "birefnet_model"}, LOADER, {0: 0}),
    Replacement("BiRefNet_Zho", "BiRefSegment", (),
                {"model": "birefnetmodel", "image": "image"}, SEGMENT, {CUTOUT: 0, MASK: 1}),
    # chflame163/ComfyUI_LayerStyle_Advance. The V2 loader's names are in the catalog, the older loader's
    # are files.
    Replacement("LayerMask: LoadBiRefNetModelV2", "BiRefLoad", ("version",),
                {"checkpoint": "version"}, LOADER, {0: 0}),
    Replacement("LayerMask: LoadBiRefNetModel", "BiRefLoad", ("model",),
                {"checkpoint": "model"}, LOADER, {0: 0}),
    Replacement("LayerMask: BiRefNetUltraV2", "BiRefSegment",
                ("detail_method", "detail_erode", "detail_dilate", "black_point", "white_point",
                 "process_detail",
                 "device", "max_megapixels"),
                {"model": "birefnet_model", "image": "image"}, SEGMENT, {CUTOUT: 0, MASK: 1}),
    # ComfyUI's own, on hosts too old to have them.
    Replacement("LoadBackgroundRemovalModel", "BiRefLoad", ("bg_removal_name",),
                {"checkpoint": "bg_removal_name"}, LOADER, {0: 0}),
    Replacement("RemoveBackground", "BiRefSegment", (),
                {"model": "bg_removal_model", "image": "image"}, SEGMENT, {MASK: 0}),
)


async def register() -> None:
    """Register all replacements with the host; hosts before 0.14 have none."""
    if not hasattr(io, "NodeReplace"):
        return
    api = comfy_api.latest.ComfyAPI()
    for replacement in REPLACEMENTS:
        await api.node_replacement.register(replacement.for_host())
