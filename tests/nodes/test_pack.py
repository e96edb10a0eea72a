"""What the host sees of the pack before it asks for nodes."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_entry_point_and_web_folder(pack):
    assert inspect.iscoroutinefunction(pack.comfy_entrypoint)
    assert not hasattr(pack, "NODE_CLASS_MAPPINGS"), "the host would ignore the entry point"
    assert (ROOT / pack.WEB_DIRECTORY).is_dir()


def test_each_node_has_a_help_page(pack):
    pages = {page.stem: page.read_text(encoding="utf-8")
             for page in (ROOT / pack.WEB_DIRECTORY / "docs").glob("*.md")}
    assert len(pages) >= 18
    for name, page in pages.items():
        assert page.startswith("# ") and "\n## Inputs\n" in page and "\n## Outputs\n" in page, name


def test_the_pages_scripts_read_no_link_of_an_input(pack):
    """Front end 1.58 deprecates `input.link`, and warns once a page, which its own scripts use up."""
    scripts = sorted((ROOT / pack.WEB_DIRECTORY).glob("*.js"))
    assert scripts
    assert [file.name for file in scripts if re.search(r"\.link\b", file.read_text(encoding="utf-8"))] == []


def test_importing_the_pack_loads_nothing_heavy_and_leaves_sys_path_alone():
    script = f"""
import importlib.util, json, sys
path, before = list(sys.path), set(sys.modules)
spec = importlib.util.spec_from_file_location("pack", {str(ROOT / "__init__.py")!r})
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
print(json.dumps([sys.path == path, sorted(set(sys.modules) - before)]))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    same_path, loaded = json.loads(out)
    assert same_path
    assert not {"torch", "numpy", "timm", "kornia", "huggingface_hub", "nodes", "birefnet",
                "weights"} & set(loaded)
