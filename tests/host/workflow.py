"""Workflows as the HTTP API takes them: written here, or converted from what the page saves."""

from __future__ import annotations

import json

from host import Workflow

ON_THE_PAGE_ONLY = {"Note", "MarkdownNote"}
WIDGETS = ("COMBO", "INT", "FLOAT", "BOOLEAN", "STRING", "COLOR,STRING")  # types that are widgets
ON_THE_PAGE = ("image_upload", "video_upload", "control_after_generate")  # options with a further widget

# Detectors of newer hosts: the inputs whose values a saved workflow holds.
DETECTORS = {
    "SAM3_Detect": {"input": {"required": {"threshold": ["FLOAT"], "refine_iterations": ["INT"],
                                           "individual_masks": ["BOOLEAN"]}}},
    "RTDETR_detect": {"input": {"required": {"threshold": ["FLOAT"], "class_name": ["COMBO"],
                                             "max_detections": ["INT"]}}},
    "DrawBBoxes": {"input": {}},
}


def node(kind: str, **inputs) -> dict:
    """Return one node; an input is a value, or [id of another node, index of its output]."""
    return {"class_type": kind, "inputs": inputs}


def load(checkpoint: str = "birefnet-nano", **changes) -> dict:
    return node("BiRefLoad",
                **{"checkpoint": checkpoint, "dtype": "auto", "device": "auto", "fetch": False} | changes)


def segmented(source: dict, **changes) -> Workflow:
    """Load BiRefNet and Segment on the first output of `source`; "segment" outputs mask, cutout, coverage."""
    inputs = {"model": ["model", 0], "image": ["source", 0], "size": 0, "frames_per_pass": 0} | changes
    return {"model": load(), "source": source, "segment": node("BiRefSegment", **inputs)}


UNCHANGED = {"black_point": 0.0, "white_point": 1.0, "grow": 0.0, "feather": 0.0, "fill_holes": 0,
             "drop_specks": 0,
             "keep_largest": 0, "edge_radius": 0, "edge_strength": 1.0}


def refined(mask: dict, image: dict | None = None, **changes) -> Workflow:
    """Refine Mask on the first outputs of `mask` and `image`, shown by "shown"."""
    guide = {"image": ["image", 0]} if image else {}
    workflow = {"mask": mask,
                "refine": node("BiRefRefineMask", mask=["mask", 0], **guide, **UNCHANGED | changes),
                "shown": node("MaskPreview", mask=["refine", 0])}
    return workflow | ({"image": image} if image else {})


def to_api(saved: dict, object_info: dict[str, dict]) -> Workflow:
    """Convert a saved workflow to its API form; raises if a node has more or fewer values than widgets."""
    links = {link[0]: [str(link[1]), link[2]] for link in saved["links"]}
    api = {}
    for node in saved["nodes"]:
        if node["type"] in ON_THE_PAGE_ONLY:
            continue
        inputs = widget_values(node, object_info[node["type"]])
        inputs |= {socket["name"]: links[socket["link"]] for socket in node.get("inputs", [])
                   if socket.get("link") is not None}
        api[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return api


def widget_values(node: dict, info: dict) -> dict:
    """Return values by widget name. An upload button has a position in the list, too, but no value."""
    names = []
    for name, kind, options in widgets(info):
        names.append(name)
        names += [None] * sum(bool(options.get(extra)) for extra in ON_THE_PAGE)
    values = node.get("widgets_values", [])
    assert len(values) == len(names), f"{node['type']}: {len(values)} widget values for {names}"
    return {name: value for name, value in zip(names, values) if name}


def widgets(info: dict) -> list[tuple[str, object, dict]]:
    """Return name, type and options of a node's widgets, in the order of the values in saved workflows."""
    inputs = {name: spec for group in ("required", "optional")
              for name, spec in info["input"].get(group, {}).items()}
    listed = [(name, spec[0], spec[1] if len(spec) > 1 else {}) for name, spec in inputs.items()]
    return [(name, kind, options) for name, kind, options in listed
            if (isinstance(kind, list) or kind in WIDGETS) and not options.get("forceInput")]


def with_stand_ins(workflow: Workflow, object_info: dict[str, dict], mask: str, boxes: list[dict]
                   ) -> Workflow:
    """Replace detectors in a workflow by nodes that output a given result.

    Args:
        workflow: in API form.
        object_info: the host's nodes; others are removed, and so are the detectors' loaders.
        mask: the picture in the host that stands for SAM 3's mask.
        boxes: stand for RT-DETR's.
    """
    found = {"SAM3_Detect": node("LoadImageMask", image=mask, channel="red"),
             "RTDETR_detect": node("OddBoxes", boxes=json.dumps([boxes]))}
    workflow = {number: found.get(made["class_type"], made) for number, made in workflow.items()}
    unknown = {made["class_type"] for made in workflow.values()} - object_info.keys()
    return without(workflow, {"CheckpointLoaderSimple", "UNETLoader"} | unknown)


def without(workflow: Workflow, kinds: set[str]) -> Workflow:
    """Remove the nodes of these kinds, and all that depend on them, from a workflow."""
    gone = {number for number, node in workflow.items() if node["class_type"] in kinds}
    while more := {number for number, node in workflow.items() if number not in gone and
                   any(isinstance(value, list) and value[0] in gone for value in node["inputs"].values())}:
        gone |= more
    return {number: node for number, node in workflow.items() if number not in gone}
