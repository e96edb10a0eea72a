"""Collects the English texts of every node from the host, in the form of locales/<language>/nodeDefs.json.

    python tests/host/locales.py COMFYUI

rewrites locales/en/nodeDefs.json. Translate what has changed there: `git diff` shows it, and
tests/nodes/test_locales.py lists what the other languages lack.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from host import PACK, Host

FILE = PACK / "locales" / "en" / "nodeDefs.json"


def english(object_info: dict[str, dict]) -> dict[str, dict]:
    """Return each node's display name and description, and name and tooltip of each input and output."""
    ours = {name: info for name, info in object_info.items() if "comfyui-biref" in info["python_module"]}
    return {name: {"display_name": info["display_name"], "description": info["description"],
                   "inputs": inputs(info), "outputs": outputs(info)} for name, info in sorted(ours.items())}


def inputs(info: dict) -> dict[str, dict]:
    specs = {name: spec for group in ("required", "optional")
             for name, spec in info["input"].get(group, {}).items()}
    return {name: {"name": spec[1].get("display_name", name), "tooltip": spec[1]["tooltip"]}
            for name, spec in specs.items()}


def outputs(info: dict) -> dict[str, dict]:
    named = zip(info["output_name"], info["output_tooltips"])
    return {str(index): {"name": name, "tooltip": tooltip} for index, (name, tooltip) in enumerate(named)}


def main(comfyui: Path) -> None:
    with tempfile.TemporaryDirectory() as base, Host(comfyui, Path(base), sys.executable) as host:
        texts = english(host.object_info())
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(texts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
