"""The host's list of nodes: ids, sockets and widgets' order never change, as saved workflows hold them."""

from __future__ import annotations

import re

import pytest
from workflow import widgets

WIDGETS = {
    "BiRefLoad": ["checkpoint", "dtype", "device", "fetch", "patch_order", "normalize", "cuda_graphs",
                  "adapter",
                  "adapter_strength"],
    "BiRefSegment": ["size", "frames_per_pass"],
    "BiRefRefineMask": ["black_point", "white_point", "grow", "feather", "fill_holes", "drop_specks",
                        "keep_largest",
                        "edge_radius", "edge_strength"],
    "BiRefComposite": ["background", "colour", "fit", "blur", "canvas", "position", "x", "y", "scale",
                       "opacity",
                       "linear_light", "shadow", "shadow_strength", "shadow_softness", "shadow_x", "shadow_y",
                       "light_wrap", "light_wrap_width", "rotation"],
    "BiRefInspect": ["colour", "size", "frames"],
    "BiRefInpaintCrop": ["region", "grow", "feather", "context", "megapixels", "multiple", "max_aspect"],
    "BiRefInpaintPaste": [],
    "BiRefEdgeRefine": ["method", "low", "high", "window", "size", "radius"],
    "BiRefSubject": ["pick", "x", "y", "width", "height", "context", "boxes", "size", "points",
                     "negative_points",
                     "mask_is", "follow_from"],
    "BiRefForeground": ["method", "first_blur", "second_blur", "despill", "colour", "spill_limit",
                        "spill_strength"],
    "BiRefTrimap": ["inward", "outward", "unit", "sure_background", "sure_subject"],
    "BiRefVideo": ["output", "colour", "fit", "quality", "clean_edges", "smoothing", "size",
                   "frames_per_pass",
                   "filename_prefix", "codec", "points", "negative_points", "frame"],
    "BiRefTemporal": ["strength"],
    "BiRefRemoveBackground": ["checkpoint", "background", "colour", "clean_edges", "fetch"],
    "BiRefFinetune": ["what", "steps", "rate", "rank", "batch", "size", "seed", "save_as"],
    "BiRefAdapter": ["adapter", "strength"],
    "BiRefPairs": ["folder"],
    "BiRefExport": ["contract", "portable", "dtype", "size", "filename_prefix"],
    "BiRefFrame": ["width", "height", "margin", "margin_unit", "position", "ground", "scale_by", "share",
                   "aspect",
                   "multiple", "threshold", "background", "colour", "fit", "blur", "shadow",
                   "shadow_strength",
                   "shadow_softness", "shadow_x", "shadow_y"],
}
SOCKETS = {
    "BiRefLoad": ([], ["BACKGROUND_REMOVAL"]),
    "BiRefSegment": ([("model", "BACKGROUND_REMOVAL"), ("image", "IMAGE")], ["MASK", "IMAGE", "FLOAT"]),
    "BiRefRefineMask": ([("mask", "MASK"), ("image", "IMAGE")], ["MASK"]),
    "BiRefComposite": ([("image", "IMAGE"), ("mask", "MASK"), ("background_image", "IMAGE")],
                       ["IMAGE", "MASK"]),
    "BiRefInspect": ([("image", "IMAGE"), ("mask", "MASK")],
                     ["IMAGE", "FLOAT", "INT", "INT", "INT", "INT", "BOUNDING_BOX"]),
    "BiRefInpaintCrop": ([("image", "IMAGE"), ("mask", "MASK")], ["IMAGE", "MASK", "BIREF_CROP"]),
    "BiRefInpaintPaste": ([("crop", "BIREF_CROP"), ("image", "IMAGE")], ["IMAGE"]),
    "BiRefEdgeRefine": ([("image", "IMAGE"), ("mask", "MASK"), ("model", "BACKGROUND_REMOVAL")], ["MASK"]),
    "BiRefSubject": ([("model", "BACKGROUND_REMOVAL"), ("image", "IMAGE"), ("mask", "MASK"),
                      ("bboxes", "BOUNDING_BOX")], ["MASK", "IMAGE"]),
    "BiRefForeground": ([("image", "IMAGE"), ("mask", "MASK")], ["IMAGE", "IMAGE"]),
    "BiRefTrimap": ([("mask", "MASK")], ["MASK", "MASK"]),
    "BiRefVideo": ([("model", "BACKGROUND_REMOVAL"), ("video", "VIDEO"), ("background_image", "IMAGE"),
                    ("background_video", "VIDEO")], ["VIDEO", "STRING"]),
    "BiRefTemporal": ([("image", "IMAGE"), ("mask", "MASK")], ["MASK"]),
    "BiRefRemoveBackground": ([("image", "IMAGE")], ["IMAGE", "MASK", "IMAGE"]),
    "BiRefFinetune": ([("model", "BACKGROUND_REMOVAL"), ("image", "IMAGE"), ("mask", "MASK")],
                      ["BACKGROUND_REMOVAL", "FLOAT", "IMAGE"]),
    "BiRefAdapter": ([("model", "BACKGROUND_REMOVAL")], ["BACKGROUND_REMOVAL"]),
    "BiRefPairs": ([], ["IMAGE", "MASK"]),
    "BiRefExport": ([("model", "BACKGROUND_REMOVAL")], ["STRING"]),
    "BiRefFrame": ([("image", "IMAGE"), ("mask", "MASK"), ("background_image", "IMAGE")],
                   ["IMAGE", "MASK", "BIREF_CROP"]),
}


def test_every_node_is_listed(object_info):
    listed = {name for name, info in object_info.items() if "comfyui-biref" in info["python_module"]}
    assert listed == set(WIDGETS)


@pytest.mark.parametrize("node", WIDGETS)
def test_widgets_keep_their_order(object_info, node):
    """All of them: a new one is appended here, too, so that none can come between later."""
    assert [name for name, _, _ in widgets(object_info[node])] == WIDGETS[node]


@pytest.mark.parametrize("node", SOCKETS)
def test_sockets_keep_their_types(object_info, node):
    inputs, outputs = SOCKETS[node]
    spec = object_info[node]["input"]
    sockets = [(name, kind[0]) for group in spec.values() for name, kind in group.items()
               if (name, kind[0]) in inputs]
    assert sockets == inputs
    assert object_info[node]["output"] == outputs


@pytest.mark.parametrize("node", WIDGETS)
def test_everything_is_explained(object_info, node):
    info = object_info[node]
    specs = {name: kind for group in ("required", "optional")
             for name, kind in info["input"].get(group, {}).items()}
    assert [name for name, kind in specs.items() if not kind[1].get("tooltip")] == []
    assert all(info["output_tooltips"])
    assert info["category"] == "image/BiRefNet" and info["description"]


def test_the_included_checkpoint_is_the_default_and_comes_first(object_info):
    _, kind, options = widgets(object_info["BiRefLoad"])[0]
    listed = kind if isinstance(kind, list) else options["options"]
    assert listed[0] == options["default"] == "birefnet-nano"
    assert {"BiRefNet", "BiRefNet_HR-matting", "RMBG-2.0"} <= set(listed)


@pytest.mark.parametrize("node", WIDGETS)
def test_help_with_its_pictures_is_served(host, node):
    page = host.fetch(f"/extensions/comfyui-biref/docs/{node}.md").decode()
    assert len(page) > 200
    pictures = re.findall(r"!\[.+\]\((.+)\)", page)
    assert pictures
    for picture in pictures:
        assert host.fetch(f"/extensions/comfyui-biref/docs/{picture}")[:2] == b"\xff\xd8"  # a JPEG
