"""Writes tests/workflows/VERSION/ for a release: a workflow with every option of every node of this pack.

    python tests/host/freeze.py

It runs the ComfyUI at COMFYUI_PATH, else the oldest supported one. Existing files are never rewritten, see
test_frozen.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from pathlib import Path

from floor import comfyui
from host import PACK, Host
from workflow import to_api, widgets

sys.path.insert(0, str(PACK))
from birefnet import __version__  # noqa: E402

FILES = {"checkpoint", "adapter", "folder"}  # their options differ between machines
TEXTS = {"colour": "navy", "save_as": "walls/mine", "filename_prefix": "clips/mine"}


def main() -> None:
    home, python = comfyui()
    with tempfile.TemporaryDirectory() as base, Host(home, Path(base), python) as host:
        object_info = host.object_info()
    nodes = [node for kind in sorted(object_info) if kind.startswith("BiRef")
             for node in chosen(object_info[kind])]
    for number, node in enumerate(nodes):
        node |= {"id": number + 1, "order": number, "pos": [340 * (number % 6), 460 * (number // 6)]}
    saved = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, __version__)), "revision": 0,
             "last_node_id": len(nodes),
             "last_link_id": 0, "nodes": nodes, "links": [], "groups": [], "config": {}, "extra": {},
             "version": 0.4}
    folder = PACK / "tests" / "workflows" / __version__
    folder.mkdir()
    for name, content in (("Every Option.json", saved),
                          ("Every Option.prompt.json", to_api(saved, object_info))):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def chosen(info: dict) -> list[dict]:
    """Return nodes of one kind that together have every option; no number has its default."""
    listed = widgets(info)
    options = {name: kind if isinstance(kind, list) else told.get("options", [])
               for name, kind, told in listed}
    count = max([1, *(len(offered) for name, offered in options.items() if name not in FILES)])
    sockets = [{"name": name, "type": spec[0], "link": None} for group in ("required", "optional")
               for name, spec in info["input"].get(group, {}).items() if name not in options]
    outputs = [{"name": name, "type": kind, "links": []}
               for name, kind in zip(info["output_name"], info["output"])]
    return [{"type": info["name"], "size": [300, 200], "flags": {}, "mode": 0, "inputs": sockets,
             "outputs": outputs,
             "properties": {"Node name for S&R": info["name"]},
             "widgets_values": [value(name, options[name], told, number) for name, _, told in listed]}
            for number in range(count)]


def value(name: str, options: list, told: dict, number: int) -> object:
    """Return a widget's value in the `number`-th node of a kind."""
    default = told.get("default")
    if name in FILES:
        return default or options[0]
    if options:
        return options[number % len(options)]
    if isinstance(default, bool):
        return not default
    if isinstance(default, str):
        return TEXTS.get(name, default)
    moved = default + told.get("step", 1)
    return round(moved if moved <= told["max"] else default - told.get("step", 1), 6)


if __name__ == "__main__":
    main()
